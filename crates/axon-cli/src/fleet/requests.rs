//! Requests for workers, as the supervisor of a fleet answers them: it starts what is missing, within its limit, drains what
//! is too much, and tells the asker what that led to.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use axon_bus::{Delivery, Message};
use axon_protocol::{Capability, Control, Format, ScaleReply, StartedProcess};
use tracing::warn;

use super::child::Notice;
use super::crew;
use super::supervisor::Supervisor;

/// How long nothing is said of a refused request again: a lead repeats it as long as its work waits.
const REFUSAL_PAUSE: Duration = Duration::from_secs(60);

impl Supervisor {
    pub(super) async fn asked(&mut self, delivery: &Delivery) {
        let (mut needs, wanted, minimum) = match delivery.decode::<Control>().await {
            Ok(Control::Scale {
                capabilities,
                workers,
                minimum,
                ..
            }) => (capabilities, workers, minimum),
            Ok(_) => return,
            Err(error) => return warn!(%error, "left out a request for workers that cannot be read"),
        };
        if needs.is_empty() {
            needs.insert(Capability::diagnostics());
        }
        let others = self.others.values().map(|(_, heartbeat)| heartbeat);
        let scaling = crew::scaling(&needs, wanted, &self.members, others, &self.parts.limits);
        let mut reply = ScaleReply {
            by: self.parts.bus.who().to_owned(),
            serving: scaling.serving,
            refused: scaling.refused,
            workers_max: u32::try_from(self.parts.limits.workers_max).unwrap_or(u32::MAX),
            ..ScaleReply::default()
        };
        for _ in 0..scaling.start {
            self.workers_named += 1;
            let part = self.parts.roles.surplus(self.workers_named, &needs);
            let name = part.spec.name.clone();
            match self.start(part) {
                Ok(pid) => reply.started.push(StartedProcess { name, pid }),
                Err(error) => {
                    warn!(name, %error, "cannot start a worker that was asked for");
                    reply.refused += 1;
                }
            }
        }
        if !minimum {
            let excess = scaling.serving.saturating_sub(wanted);
            reply.draining = crew::excess(&needs, excess, &self.members, &self.parts.limits);
            for name in &reply.draining {
                self.drain(name).await;
            }
        }
        self.tell_scaled(&needs, &reply);
        if let Some(subject) = delivery.reply_to() {
            let sent = match Message::new(subject, Format::Json, &reply) {
                Ok(message) => self.parts.bus.announce(&message).await,
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                warn!(%error, "cannot reply to a request for workers");
            }
        }
    }

    fn tell_scaled(&mut self, needs: &BTreeSet<Capability>, reply: &ScaleReply) {
        let names: Vec<&str> = needs.iter().map(Capability::as_str).collect();
        let names = names.join(" and ");
        if !reply.started.is_empty() {
            let started = reply.started.iter().map(|one| format!("{} {}", one.name, one.pid));
            self.say(Notice::Scaled {
                needs: names.clone(),
                started: started.collect(),
            });
        }
        let now = Instant::now();
        let said = self
            .refused
            .as_ref()
            .is_some_and(|(refused, at)| refused == needs && now.saturating_duration_since(*at) < REFUSAL_PAUSE);
        if reply.refused > 0 && !said {
            self.refused = Some((needs.clone(), now));
            self.say(Notice::ScaleRefused {
                needs: names,
                refused: reply.refused,
                limit: self.parts.limits.workers_max,
            });
        }
    }
}
