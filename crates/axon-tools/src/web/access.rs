//! Which addresses may be fetched. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

use super::FetchConfig;

/// Whether an address may be fetched: where it lies on a listed host; else why not. Whether a name leads to a private
/// address shows when it is resolved.
pub(super) fn check(url: &Url, config: &FetchConfig) -> Result<(), String> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{}` is no http or https address", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address with a user or password is not fetched".to_owned());
    }
    let Some(host) = url.host_str() else {
        return Err("the address names no host".to_owned());
    };
    let port = url.port_or_known_default().unwrap_or_default();
    if is_listed(host, port, &config.private_hosts) {
        return Ok(());
    }
    if !is_listed(host, port, &config.hosts) {
        let listed: Vec<&str> = config
            .hosts
            .iter()
            .chain(&config.private_hosts)
            .map(String::as_str)
            .collect();
        return Err(format!(
            "`{host}` at port {port} is not on the list: {} (tools.fetch.hosts)",
            listed.join(", ")
        ));
    }
    match literal(host) {
        Some(address) if !is_public(address) => Err(private(host)),
        _ => Ok(()),
    }
}

/// Whether a host may be reached at private addresses, whatever its port.
pub(super) fn may_be_private(host: &str, config: &FetchConfig) -> bool {
    config
        .private_hosts
        .iter()
        .any(|pattern| matches_host(host, split(pattern).0))
}

/// Why a listed host is not reached.
pub(super) fn private(host: &str) -> String {
    format!("`{host}` has an address that is not public: to allow that, list it in tools.fetch.private_hosts")
}

fn is_listed(host: &str, port: u16, patterns: &[String]) -> bool {
    patterns.iter().any(|pattern| {
        let (name, wanted) = split(pattern);
        let port_fits = match wanted {
            Some(wanted) => port == wanted,
            None => matches!(port, 80 | 443),
        };
        port_fits && matches_host(host, name)
    })
}

/// A pattern without and with its port. An address of version 6 stands in brackets.
fn split(pattern: &str) -> (&str, Option<u16>) {
    match pattern.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (pattern, None),
        },
        _ => (pattern, None),
    }
}

fn matches_host(host: &str, pattern: &str) -> bool {
    let host = host.trim_end_matches('.');
    match pattern.strip_prefix("*.") {
        Some(parent) => host
            .len()
            .checked_sub(parent.len() + 1)
            .is_some_and(|end| host.as_bytes()[end] == b'.' && host[end + 1..].eq_ignore_ascii_case(parent)),
        None => host.eq_ignore_ascii_case(pattern),
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether an address is one of the public internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b)))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // Version 4 in disguise: mapped, and translated by NAT64 or 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            embedded(high, low)
        }
        // Documentation, and tunnels whose other end cannot be told.
        [0x2001, 0xdb8, ..] | [0x2001, 0, ..] => false,
        // What was given to the public internet.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_hosts_are_asked() {
        let config = FetchConfig {
            hosts: ["docs.rs", "*.example.org", "odd.net:8443", "10.0.0.1", "8.8.8.8"]
                .map(str::to_owned)
                .into(),
            private_hosts: ["127.0.0.1:8080", "*.lan", "[::1]:99"].map(str::to_owned).into(),
            ..FetchConfig::default()
        };
        for (url, expected) in [
            ("https://docs.rs/tokio", true),
            ("http://DOCS.rs./", true),
            ("https://docs.rs:8443/", false),
            ("https://evil-docs.rs/", false),
            ("https://docs.rs.evil.net/", false),
            ("https://a.example.org/", true),
            ("https://a.b.example.org/", true),
            ("https://example.org/", false),
            ("https://notexample.org/", false),
            ("https://odd.net:8443/x", true),
            ("https://odd.net/x", false),
            ("https://user@docs.rs/", false),
            ("https://docs.rs@evil.net/", false),
            ("ftp://docs.rs/", false),
            ("file:///etc/passwd", false),
            ("http://10.0.0.1/", false),
            ("http://8.8.8.8/", true),
            ("http://127.0.0.1:8080/", true),
            ("http://127.0.0.1/", false),
            ("http://2130706433:8080/", true),
            ("http://printer.lan/", true),
            ("http://[::1]:99/", true),
            ("http://[::1]/", false),
        ] {
            let checked = check(&Url::parse(url).expect("an address"), &config);
            assert_eq!(checked.is_ok(), expected, "{url}: {checked:?}");
        }
        assert!(may_be_private("nas.lan", &config) && !may_be_private("docs.rs", &config));
    }

    #[test]
    fn private_addresses_are_known_in_every_disguise() {
        for (address, expected) in [
            ("8.8.8.8", true),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("172.32.0.1", true),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("2606:4700::1111", true),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("ff02::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("64:ff9b::a00:1", false),
            ("2002:7f00:1::", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_public(address.parse().expect("an address")), expected, "{address}");
        }
    }
}
