//! `axon drain`: asks one process to finish what it holds and exit, and waits until its heartbeat is gone.

use std::time::Duration;

use axon_bus::Message;
use axon_protocol::{Bucket, Control, Format, Heartbeat};
use serde_json::json;
use tokio::time::Instant;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output;

/// How often the registry is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// The request may be lost, and may be repeated.
const ASK_INTERVAL: Duration = Duration::from_secs(5);

/// Which process.
#[derive(Debug, clap::Args)]
pub(crate) struct DrainArgs {
    /// Id of a worker, lead or synthesizer, as `axon workers` shows it
    #[arg(value_name = "ID")]
    id: String,

    /// Seconds to wait until it is gone; 0 only asks
    #[arg(long, value_name = "S", default_value_t = 60)]
    timeout: u64,
}

pub(crate) async fn run(context: &Context, args: DrainArgs) -> anyhow::Result<Exit> {
    let bus = context.connect().await?;
    let table = bus.table::<Heartbeat>(Bucket::Registry);
    let Some((key, _)) = table
        .all()
        .await?
        .into_iter()
        .find(|(_, heartbeat)| heartbeat.id == args.id)
    else {
        let message = format!("no process `{}` shows a heartbeat: `axon workers` lists them", args.id);
        return Err(Failure::not_found(message).into());
    };
    let control = Control::Drain { id: args.id.clone() };
    let message = Message::new(bus.namespace().control_drain(&args.id), Format::Msgpack, &control)?;
    let started = Instant::now();
    let until = started + Duration::from_secs(args.timeout);
    let mut ask_at = started;
    let gone = loop {
        if Instant::now() >= ask_at {
            bus.announce(&message).await?;
            ask_at += ASK_INTERVAL;
        }
        if table.get(&key).await?.is_none() {
            break true;
        }
        if Instant::now() >= until {
            break false;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    };
    bus.drain().await?;
    if !gone && args.timeout > 0 {
        let message = format!(
            "{} is not gone after {} s: it still holds work, or does not hear; see its log",
            args.id, args.timeout
        );
        return Err(Failure::new(Exit::NoAnswer, message).into());
    }
    if context.json {
        let elapsed_ms = started.elapsed().as_millis() as u64;
        output::json(&json!({ "id": args.id, "gone": gone, "elapsed_ms": elapsed_ms }))?;
    } else if gone {
        output::line(&format!("{} has drained and is gone", args.id))?;
    } else {
        output::line(&format!("{} was asked to drain", args.id))?;
    }
    Ok(Exit::Success)
}
