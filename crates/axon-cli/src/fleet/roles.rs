//! What the processes of a fleet are started with: their binaries, names, logs and settings. It starts none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use axon_protocol::{AgentType, Capability};

use super::Plan;
use super::crew::Kind;
use crate::context::Context;
use crate::process::{Spec, sibling};

/// Group of the workers that are started on request. They can do what was asked for and nothing else.
const SCALED_GROUP: &str = "scaled";

/// Everything that a role's process is started with.
#[derive(Debug, Default)]
pub(super) struct Roles {
    programs: Programs,
    logs: PathBuf,
    /// Settings of all roles, as environment variables.
    env: Vec<(String, String)>,
    slots: Option<u32>,
}

/// The binaries of the roles; only those that are needed have to be there.
#[derive(Debug, Default)]
pub(super) struct Programs {
    lead: PathBuf,
    worker: PathBuf,
    synthesizer: PathBuf,
}

impl Programs {
    pub(super) fn find(plan: &Plan) -> anyhow::Result<Self> {
        let needed = |count: usize, name: &str| if count > 0 { sibling(name) } else { Ok(PathBuf::new()) };
        Ok(Self {
            lead: needed(plan.leads, "axon-lead")?,
            worker: needed(plan.limits.workers_max, "axon-worker")?,
            synthesizer: needed(plan.synthesizers, "axon-synthesizer")?,
        })
    }
}

/// A process to start, and what it is.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) spec: Spec,
    pub(super) kind: Kind,
    pub(super) capabilities: BTreeSet<Capability>,
}

impl Roles {
    /// `further` are settings that come from the plan and from what was prepared for the roles.
    pub(super) fn new(
        programs: Programs,
        context: &Context,
        logs: &Path,
        slots: Option<u32>,
        further: Vec<(String, String)>,
    ) -> Self {
        let mut env = vec![
            ("AXON_BUS__URL".to_owned(), context.bus.url.clone()),
            ("AXON_BUS__NAMESPACE".to_owned(), context.bus.namespace.to_string()),
            ("AXON_HEALTH__LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
        ];
        let file = context.config_file.as_deref();
        env.extend(file.map(|path| ("AXON_CONFIG".to_owned(), path.display().to_string())));
        env.extend(further);
        Self {
            programs,
            logs: logs.to_owned(),
            env,
            slots,
        }
    }

    /// The processes a fleet begins with.
    pub(super) fn first(&self, leads: usize, workers: usize, synthesizers: usize) -> Vec<Part> {
        let other = |program: &PathBuf, role: &str, index: usize, of: usize| Part {
            spec: self.spec(numbered(role, index, of), program, Vec::new()),
            kind: Kind::Other,
            capabilities: BTreeSet::new(),
        };
        let leads = (1..=leads).map(|index| other(&self.programs.lead, "axon-lead", index, leads));
        let synthesizers =
            (1..=synthesizers).map(|index| other(&self.programs.synthesizer, "axon-synthesizer", index, synthesizers));
        let all = AgentType::all();
        let workers = (1..=workers).map(|index| Part {
            spec: self.spec(
                numbered("axon-worker", index, workers),
                &self.programs.worker,
                vec![("AXON_WORKER__AGENT_TYPE", all.to_string())],
            ),
            kind: Kind::Worker,
            capabilities: all.capabilities().unwrap_or_default(),
        });
        leads.chain(workers).chain(synthesizers).collect()
    }

    /// A worker that is started on request, for these capabilities.
    pub(super) fn surplus(&self, index: usize, needs: &BTreeSet<Capability>) -> Part {
        let names: Vec<&str> = needs.iter().map(Capability::as_str).collect();
        let own = vec![
            ("AXON_WORKER__AGENT_TYPE", SCALED_GROUP.to_owned()),
            ("AXON_WORKER__CAPABILITIES", names.join(",")),
        ];
        let mut capabilities = needs.clone();
        capabilities.insert(Capability::diagnostics());
        Part {
            spec: self.spec(format!("axon-worker-{index}"), &self.programs.worker, own),
            kind: Kind::Surplus,
            capabilities,
        }
    }

    fn spec(&self, name: String, program: &Path, own: Vec<(&str, String)>) -> Spec {
        let mut env = self.env.clone();
        if program == self.programs.worker {
            env.extend(
                self.slots
                    .map(|slots| ("AXON_WORKER__SLOTS".to_owned(), slots.to_string())),
            );
        }
        env.extend(own.into_iter().map(|(key, value)| (key.to_owned(), value)));
        Spec {
            log: self.logs.join(format!("{name}.log")),
            name,
            program: program.to_owned(),
            args: vec!["--exit-with-parent".to_owned()],
            env,
            leash: true,
        }
    }
}

fn numbered(role: &str, index: usize, of: usize) -> String {
    match of {
        1 => role.to_owned(),
        _ => format!("{role}-{index}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles() -> Roles {
        let context = Context {
            bus: axon_bus::Config::default(),
            registry: axon_service::RegistryConfig::default(),
            tools: axon_tools::Config::default(),
            config_file: Some("my.toml".into()),
            nats_given: false,
            lead: serde_json::Map::new(),
            json: false,
            client: "test".to_owned(),
        };
        let programs = Programs {
            lead: "lead".into(),
            worker: "worker".into(),
            synthesizer: "synthesizer".into(),
        };
        let further = vec![("A".to_owned(), "b".to_owned())];
        Roles::new(programs, &context, Path::new("logs"), Some(3), further)
    }

    fn has(spec: &Spec, key: &str, value: &str) -> bool {
        // The last one of a name counts.
        let of_name = spec.env.iter().rev().find(|(name, _)| name == key);
        of_name.is_some_and(|(_, found)| found == value)
    }

    #[test]
    fn every_process_has_a_name_and_a_log_of_its_own_and_its_settings() {
        for (workers, names) in [
            (
                2,
                &["axon-lead", "axon-worker-1", "axon-worker-2", "axon-synthesizer"][..],
            ),
            (1, &["axon-lead", "axon-worker", "axon-synthesizer"]),
            (0, &["axon-lead", "axon-synthesizer"]),
        ] {
            let parts = roles().first(1, workers, 1);
            let found: Vec<&str> = parts.iter().map(|part| part.spec.name.as_str()).collect();
            assert_eq!(found, names);
            for Part { spec, kind, .. } in &parts {
                assert!(
                    has(spec, "AXON_BUS__URL", "nats://127.0.0.1:4222") && has(spec, "AXON_BUS__NAMESPACE", "axon")
                );
                assert!(has(spec, "AXON_CONFIG", "my.toml") && has(spec, "A", "b"));
                assert_eq!(has(spec, "AXON_WORKER__SLOTS", "3"), *kind == Kind::Worker);
                assert_eq!(spec.log, Path::new("logs").join(format!("{}.log", spec.name)));
                assert!(spec.leash && spec.args == ["--exit-with-parent"]);
            }
        }
    }

    #[test]
    fn a_worker_on_request_can_do_what_was_asked_for() {
        let needs = ["Testing", "CodeReview"].map(|name| Capability::new(name).expect("a name"));
        let part = roles().surplus(5, &needs.into());
        assert_eq!((part.spec.name.as_str(), part.kind), ("axon-worker-5", Kind::Surplus));
        assert!(has(&part.spec, "AXON_WORKER__CAPABILITIES", "CodeReview,Testing"));
        assert!(has(&part.spec, "AXON_WORKER__AGENT_TYPE", "scaled") && has(&part.spec, "AXON_WORKER__SLOTS", "3"));
        assert_eq!(part.capabilities.len(), 3);
    }
}
