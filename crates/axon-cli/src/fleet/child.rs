//! One child of a fleet, kept running: started again with backoff when it dies, killed or drained when it is ordered. It
//! decides nothing about other children.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::process::{Process, Spec};

const RESTART_DELAY_MIN: Duration = Duration::from_secs(1);
const RESTART_DELAY_MAX: Duration = Duration::from_secs(10);
/// Deaths in a row after which a process is given up.
const RESTARTS_MAX: u32 = 10;
/// A process that lived so long has not died "in a row".
const STEADY_AFTER: Duration = Duration::from_secs(60);
/// Orders that may wait for a child: it takes each at once.
pub(super) const ORDERS_MAX: usize = 4;

/// What happens to the processes of a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It was started.
    Started { name: String, pid: u32 },
    /// It died and is going to be started again.
    Died {
        name: String,
        pid: u32,
        how: String,
        restart_in: Duration,
    },
    /// It died too often.
    GivenUp { name: String, how: String },
    /// It ended as it was told to, by this fleet or by `axon drain`; not so if it had to be killed.
    Stopped { name: String, drained: bool },
    /// It runs and says nothing: it is killed, and replaced like one that died.
    Silent {
        name: String,
        pid: u32,
        silent_for: Duration,
    },
    /// Somebody asked for workers; these were started for it.
    Scaled { needs: String, started: Vec<String> },
    /// Somebody asked for more workers than this fleet may have.
    ScaleRefused { needs: String, refused: u32, limit: usize },
    /// A worker that was started on request has had nothing to do; it drains.
    Idle { name: String, idle_for: Duration },
}

/// What a child is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// Kill it and start another one in its place, because of this.
    Replace(String),
    /// Let it drain; it is not started again.
    Drain,
}

/// A child to keep running.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) spec: Spec,
    /// The process where it runs already.
    pub(super) first: Option<Process>,
    /// How long it may take to stop.
    pub(super) grace: Duration,
    /// Whether it is started again even when it ends well. A role that ends well was asked to drain.
    pub(super) for_ever: bool,
}

/// How one life of a child ended.
enum Ended {
    /// It is not wanted any more; whether it went by itself.
    Done(bool),
    /// It died, or was killed to be replaced.
    Died(String),
}

impl Child {
    /// Keeps the child running until it is told to stop, drains, or dies too often.
    pub(super) async fn supervise(
        self,
        stop: CancellationToken,
        mut orders: mpsc::Receiver<Order>,
        tell: mpsc::Sender<Notice>,
    ) {
        let Self {
            spec,
            mut first,
            grace,
            for_ever,
        } = self;
        // A supervisor never waits for a listener: one that is gone, or far behind, must not keep a child from its restart.
        let tell = |notice| drop(tell.try_send(notice));
        let name = spec.name.clone();
        let mut deaths = 0;
        loop {
            let started = Instant::now();
            let mut pid = 0;
            let ended = match first.take().map_or_else(|| Process::spawn(&spec), Ok) {
                Err(error) => Ended::Died(crate::exit::one_line(&error)),
                Ok(mut process) => {
                    pid = process.pid;
                    tell(Notice::Started {
                        name: name.clone(),
                        pid,
                    });
                    live(&mut process, &stop, &mut orders, grace, for_ever).await
                }
            };
            let how = match ended {
                Ended::Done(drained) => return tell(Notice::Stopped { name, drained }),
                Ended::Died(how) => how,
            };
            deaths = if started.elapsed() > STEADY_AFTER {
                1
            } else {
                deaths + 1
            };
            let Some(restart_in) = restart_delay(deaths) else {
                return tell(Notice::GivenUp { name, how });
            };
            tell(Notice::Died {
                name: name.clone(),
                pid,
                how,
                restart_in,
            });
            tokio::select! {
                () = stop.cancelled() => return tell(Notice::Stopped { name, drained: true }),
                () = drained(&mut orders) => return tell(Notice::Stopped { name, drained: true }),
                () = tokio::time::sleep(restart_in) => {}
            }
        }
    }
}

async fn live(
    process: &mut Process,
    stop: &CancellationToken,
    orders: &mut mpsc::Receiver<Order>,
    grace: Duration,
    for_ever: bool,
) -> Ended {
    tokio::select! {
        biased;
        () = stop.cancelled() => Ended::Done(process.terminate(grace).await.is_some()),
        Some(order) = orders.recv() => match order {
            Order::Drain => Ended::Done(process.terminate(grace).await.is_some()),
            Order::Replace(why) => {
                process.kill().await;
                Ended::Died(why)
            }
        },
        ended = process.wait() => match ended {
            Ok(status) if status.success() && !for_ever => Ended::Done(true),
            Ok(status) => Ended::Died(format!("ended with {status}")),
            Err(error) => Ended::Died(format!("cannot be waited for: {error}")),
        },
    }
}

/// Ends when the child is told to drain; what else it is told comes too late, because it has died already.
async fn drained(orders: &mut mpsc::Receiver<Order>) {
    loop {
        match orders.recv().await {
            Some(Order::Drain) => return,
            Some(Order::Replace(_)) => {}
            None => return std::future::pending().await,
        }
    }
}

/// How long to wait after so many deaths in a row; `None` when it is enough.
fn restart_delay(deaths: u32) -> Option<Duration> {
    (deaths <= RESTARTS_MAX).then(|| {
        let doubled = 2_u32.saturating_pow(deaths.saturating_sub(1));
        RESTART_DELAY_MIN.saturating_mul(doubled).min(RESTART_DELAY_MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dies_is_started_again_ever_later_and_then_given_up() {
        for (deaths, seconds) in [
            (1, Some(1)),
            (2, Some(2)),
            (4, Some(8)),
            (5, Some(10)),
            (10, Some(10)),
            (11, None),
        ] {
            assert_eq!(restart_delay(deaths).map(|delay| delay.as_secs()), seconds, "{deaths}");
        }
    }

    fn sleeper(dir: &std::path::Path, script: &str) -> Child {
        Child {
            spec: Spec {
                name: "child".to_owned(),
                program: "/bin/sh".into(),
                args: vec!["-c".to_owned(), script.to_owned()],
                env: Vec::new(),
                log: dir.join("child.log"),
                leash: false,
            },
            first: None,
            grace: Duration::from_secs(10),
            for_ever: false,
        }
    }

    fn pid_of(notice: Option<Notice>) -> u32 {
        match notice {
            Some(Notice::Started { pid, .. }) => pid,
            other => panic!("it starts: {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_supervised_process_is_restarted_and_stops_when_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let flag = dir.path().join("second");
        let script = format!("[ -e {0} ] && exec sleep 60; touch {0}; exit 3", flag.display());
        let (tell, mut told) = mpsc::channel(8);
        let (_orders, receiver) = mpsc::channel(ORDERS_MAX);
        let stop = CancellationToken::new();
        let task = tokio::spawn(sleeper(dir.path(), &script).supervise(stop.clone(), receiver, tell));
        pid_of(told.recv().await);
        let Some(Notice::Died { how, restart_in, .. }) = told.recv().await else {
            panic!("it dies");
        };
        assert_eq!(
            (how.as_str(), restart_in),
            ("ended with exit status: 3", RESTART_DELAY_MIN)
        );
        pid_of(told.recv().await);
        stop.cancel();
        assert_eq!(
            told.recv().await,
            Some(Notice::Stopped {
                name: "child".to_owned(),
                drained: true
            })
        );
        task.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_child_is_replaced_even_when_it_is_frozen_and_drains_for_good() {
        let dir = tempfile::tempdir().expect("a directory");
        let (tell, mut told) = mpsc::channel(8);
        let (orders, receiver) = mpsc::channel(ORDERS_MAX);
        let child = sleeper(dir.path(), "exec sleep 60");
        let task = tokio::spawn(child.supervise(CancellationToken::new(), receiver, tell));
        let first = pid_of(told.recv().await);
        let raw = rustix::process::Pid::from_raw(i32::try_from(first).expect("a pid")).expect("a pid");
        rustix::process::kill_process(raw, rustix::process::Signal::STOP).expect("frozen");
        orders
            .send(Order::Replace("was silent".to_owned()))
            .await
            .expect("heard");
        let died = told.recv().await;
        assert!(
            matches!(&died, Some(Notice::Died { how, pid, .. }) if how == "was silent" && *pid == first),
            "{died:?}"
        );
        assert_ne!(pid_of(told.recv().await), first);
        orders.send(Order::Drain).await.expect("heard");
        assert!(matches!(told.recv().await, Some(Notice::Stopped { drained: true, .. })));
        task.await.expect("no panic");
    }
}
