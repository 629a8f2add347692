//! `axon scale`: asks whoever runs workers here for a number of them, and tells what that led to. It starts none itself.

use std::collections::BTreeSet;
use std::time::Duration;

use axon_bus::Message;
use axon_protocol::{Bucket, Capability, Control, Format, Heartbeat, ScaleReply};
use serde_json::json;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::question::check_streams;

/// How long a supervisor may take to start the workers and reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many of which.
#[derive(Debug, clap::Args)]
pub(crate) struct ScaleArgs {
    /// What they need to be able to do, such as CodeReview; several separated by commas, each worker ALL of them
    #[arg(value_name = "CAPABILITY", required = true, value_delimiter = ',')]
    capabilities: Vec<String>,

    /// How many there should be in all, those that are there included
    #[arg(value_name = "N")]
    workers: u32,
}

pub(crate) async fn run(context: &Context, args: ScaleArgs) -> anyhow::Result<Exit> {
    let capabilities = args
        .capabilities
        .iter()
        .map(|name| Capability::new(name.as_str()).map_err(|error| Failure::bad_input(error.to_string())))
        .collect::<Result<BTreeSet<Capability>, Failure>>()?;
    let bus = context.connect().await?;
    check_streams(&bus).await?;
    let control = Control::Scale {
        capabilities: capabilities.clone(),
        workers: args.workers,
        minimum: false,
        reason: format!("asked for by {}", context.client),
    };
    let there = bus.table::<Heartbeat>(Bucket::Registry).all().await?;
    let workers = || there.values().filter(|one| one.role == "worker");
    let known: BTreeSet<&Capability> = workers().flat_map(|one| &one.capabilities).collect();
    if let Some(remark) = unserved(&capabilities, &known) {
        eprintln!("{remark}");
    }
    let request = Message::new(bus.namespace().control_scale(), Format::Msgpack, &control)?;
    let asked = bus.request(&request, REPLY_TIMEOUT).await;
    let reply: ScaleReply = match asked {
        Ok(reply) => reply.decode().await?,
        Err(error) => {
            tracing::debug!(%error, "no reply to a request for workers");
            let able = workers()
                .filter(|one| capabilities.is_subset(&one.capabilities))
                .count();
            return Err(Failure::new(Exit::NoAnswer, nobody(able, args.workers)).into());
        }
    };
    if context.json {
        output::json(&json!({ "capabilities": capabilities, "workers": args.workers, "reply": reply }))?;
    } else {
        output::line(&text_of(&reply, args.workers))?;
    }
    if reply.refused > 0 {
        let message = format!(
            "{} not started: {} runs {} workers at most; start `axon up` with a higher --workers-max",
            output::counted(reply.refused as usize, "worker"),
            reply.by,
            reply.workers_max
        );
        return Err(Failure::new(Exit::Refused, message).into());
    }
    Ok(Exit::Success)
}

fn nobody(able: usize, wanted: u32) -> String {
    format!(
        "no `axon up` listens here, so that nobody starts or stops workers; {} of the {wanted} wanted can do it now. With \
         compose use `docker compose up -d --scale <service>={wanted}`",
        output::counted(able, "worker")
    )
}

/// What is said of capabilities that no worker has: they may be misspelt.
fn unserved(wanted: &BTreeSet<Capability>, known: &BTreeSet<&Capability>) -> Option<String> {
    let list = |names: &mut dyn Iterator<Item = &Capability>| {
        let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        names.join(", ")
    };
    let unserved = list(&mut wanted.iter().filter(|name| !known.contains(name)));
    (!unserved.is_empty() && !known.is_empty()).then(|| {
        format!(
            "no worker can do {unserved} now; they can do {}",
            list(&mut known.iter().copied())
        )
    })
}

fn text_of(reply: &ScaleReply, wanted: u32) -> String {
    let could = format!(
        "{} could do it before, {wanted} wanted",
        output::counted(reply.serving as usize, "worker")
    );
    let mut out = vec![format!("{}: {could}", reply.by)];
    out.extend(
        reply
            .started
            .iter()
            .map(|one| format!("started {}, pid {}", one.name, one.pid)),
    );
    out.extend(reply.draining.iter().map(|name| format!("draining {name}")));
    if reply.started.is_empty() && reply.draining.is_empty() && reply.refused == 0 {
        let nothing = match reply.serving > wanted {
            true => "nothing changed: only workers that were started on request are drained, down to --workers",
            false => "nothing to do",
        };
        out.push(nothing.to_owned());
    }
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use axon_protocol::StartedProcess;

    use super::*;

    #[test]
    fn a_capability_that_no_worker_has_is_told_with_those_they_have() {
        let of = |names: &[&str]| -> BTreeSet<Capability> {
            names
                .iter()
                .map(|name| Capability::new(*name).expect("a capability"))
                .collect()
        };
        let there = of(&["CodeReview", "Testing"]);
        for (wanted, known, expected) in [
            (&["Testing"][..], &there, None),
            (&["Nonsense"], &BTreeSet::new(), None),
            (
                &["Nonsense", "Testing"],
                &there,
                Some("no worker can do `Nonsense` now; they can do `CodeReview`, `Testing`"),
            ),
        ] {
            let said = unserved(&of(wanted), &known.iter().collect());
            assert_eq!(said.as_deref(), expected, "{wanted:?}");
        }
    }

    #[test]
    fn the_reply_is_told_and_so_is_that_there_is_none() {
        let reply = |serving, started: &[(&str, u32)], draining: &[&str]| ScaleReply {
            by: "axon@h".to_owned(),
            serving,
            started: started
                .iter()
                .map(|(name, pid)| StartedProcess {
                    name: (*name).to_owned(),
                    pid: *pid,
                })
                .collect(),
            draining: draining.iter().map(|name| (*name).to_owned()).collect(),
            refused: 0,
            workers_max: 5,
        };
        for (reply, wanted, expected) in [
            (
                reply(1, &[("axon-worker-5", 77)], &[]),
                2,
                "axon@h: 1 worker could do it before, 2 wanted\nstarted axon-worker-5, pid 77",
            ),
            (
                reply(3, &[], &["axon-worker-5"]),
                2,
                "axon@h: 3 workers could do it before, 2 wanted\ndraining axon-worker-5",
            ),
            (
                reply(2, &[], &[]),
                2,
                "axon@h: 2 workers could do it before, 2 wanted\nnothing to do",
            ),
        ] {
            assert_eq!(text_of(&reply, wanted), expected);
        }
        assert!(text_of(&reply(4, &[], &[]), 2).contains("only workers that were started on request"));
        assert!(nobody(0, 3).contains("axon up") && nobody(1, 3).contains("--scale <service>=3"));
    }
}
