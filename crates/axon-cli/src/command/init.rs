//! `axon init`: creates what is missing on the server and tells what stands otherwise than declared. It changes nothing
//! that stands.

use axon_bus::Difference;
use axon_protocol::{Bucket, ObjectBucket, Stream};
use serde_json::{Value, json};

use crate::context::Context;
use crate::exit::Exit;
use crate::output;

pub(crate) async fn run(context: &Context) -> anyhow::Result<Exit> {
    let bus = context.connect().await?;
    let missing = bus
        .differences()
        .await?
        .into_iter()
        .filter(|difference| difference.setting == "stream")
        .count();
    let differences = bus.declare().await?;
    if context.json {
        output::json(&json!({
            "namespace": bus.namespace(),
            "streams": Stream::ALL.len(),
            "streams_created": missing,
            "buckets": Bucket::ALL.len(),
            "object_stores": ObjectBucket::ALL.len(),
            "differences": differences.iter().map(value_of).collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Success);
    }
    output::line(&format!(
        "{} streams ({missing} created), {} buckets and {} object stores of the namespace `{}` stand",
        Stream::ALL.len(),
        Bucket::ALL.len(),
        ObjectBucket::ALL.len(),
        bus.namespace()
    ))?;
    for difference in &differences {
        output::line(&format!("differs: {difference}"))?;
    }
    Ok(Exit::Success)
}

/// A difference as JSON.
pub(crate) fn value_of(difference: &Difference) -> Value {
    json!({
        "name": difference.name,
        "setting": difference.setting,
        "declared": difference.declared,
        "standing": difference.standing,
    })
}
