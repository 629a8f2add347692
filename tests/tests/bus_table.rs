//! Tables and objects: compare-and-set, watches, digests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axon_bus::Error;
use axon_protocol::{Bucket, Digest, ObjectBucket};
use axon_tests::{Bed, json_request};
use bytes::Bytes;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Note {
    text: String,
    count: u32,
}

fn note(text: &str, count: u32) -> Note {
    Note {
        text: text.to_owned(),
        count,
    }
}

#[tokio::test]
async fn a_key_is_created_once_and_updated_by_who_saw_it_last() {
    let (bed, bus) = Bed::new().await;
    for bucket in [Bucket::Plans, Bucket::Strategies] {
        let (mine, theirs) = (
            bus.table::<Note>(bucket),
            bed.connect("other").await.table::<Note>(bucket),
        );
        assert_eq!(mine.get("k").await.expect("reads"), None);
        let created = mine.create("k", &note("mine", 1)).await.expect("created");
        let conflict = theirs.create("k", &note("theirs", 1)).await;
        assert!(
            matches!(&conflict, Err(Error::Conflict { key }) if key == "k"),
            "{conflict:?}"
        );
        let updated = theirs.update("k", &note("theirs", 2), created).await.expect("updated");
        assert!(updated > created);
        let conflict = mine.update("k", &note("mine", 3), created).await;
        assert!(matches!(conflict, Err(Error::Conflict { .. })), "{conflict:?}");
        let entry = mine.get("k").await.expect("reads").expect("is there");
        assert_eq!((entry.value, entry.revision), (Some(note("theirs", 2)), updated));
        assert!(
            !conflict.expect_err("a conflict").is_transient(),
            "trying the same again would not help"
        );

        let conflict = mine.delete_at("k", created).await;
        assert!(matches!(conflict, Err(Error::Conflict { .. })), "{conflict:?}");
        mine.delete_at("k", updated).await.expect("deleted");
        assert_eq!(theirs.get("k").await.expect("reads"), None);
        theirs
            .create("k", &note("again", 1))
            .await
            .expect("a deleted key can be created");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_changes_while_all_are_read_is_among_them() {
    let (bed, bus) = Bed::new().await;
    let table = bus.table::<Note>(Bucket::Registry);
    let keys: Vec<String> = (0..4).map(|number| format!("k{number}")).collect();
    for key in &keys {
        table.put(key, &note("first", 0)).await.expect("written");
    }
    let reading = CancellationToken::new();
    let beats = {
        let (reading, keys) = (reading.clone(), keys.clone());
        let table = bed.connect("who beats").await.table::<Note>(Bucket::Registry);
        tokio::spawn(async move {
            let mut count = 0;
            while !reading.is_cancelled() {
                count += 1;
                for key in &keys {
                    table.put(key, &note("again", count)).await.expect("written");
                }
            }
            count
        })
    };
    for _ in 0..200 {
        let all = table.all().await.expect("a listing");
        assert_eq!(all.into_keys().collect::<Vec<_>>(), keys);
    }
    reading.cancel();
    assert!(beats.await.expect("wrote") > 10, "they changed all the while");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_writers_at_once_lose_nothing() {
    let (bed, bus) = Bed::new().await;
    let writers = (0..10).map(|_| {
        let bed = bed.clone();
        async move {
            let table = bed.connect("writer").await.table::<Note>(Bucket::Strategies);
            for _ in 0..10 {
                table
                    .modify("counted", |found| {
                        let found = found.unwrap_or_default();
                        Some(note("x", found.count + 1))
                    })
                    .await
                    .expect("modified");
            }
        }
    });
    join_all(writers).await;
    let entry = bus
        .table::<Note>(Bucket::Strategies)
        .get("counted")
        .await
        .expect("reads")
        .expect("is there");
    assert_eq!(entry.value, Some(note("x", 100)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ten_creators_exactly_one_succeeds() {
    let (_bed, bus) = Bed::new().await;
    let created = Arc::new(AtomicU32::new(0));
    let creators = (0..10).map(|index| {
        let (table, created) = (bus.table::<Note>(Bucket::Plans), created.clone());
        async move {
            match table.create("q1", &note("plan", index)).await {
                Ok(_) => {
                    created.fetch_add(1, Ordering::SeqCst);
                }
                Err(error) => assert!(matches!(error, Error::Conflict { .. }), "{error:?}"),
            }
        }
    });
    join_all(creators).await;
    assert_eq!(created.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_modification_may_decide_to_change_nothing() {
    let (_bed, bus) = Bed::new().await;
    let table = bus.table::<Note>(Bucket::Strategies);
    let revision = table.put("k", &note("x", 1)).await.expect("put");
    table.modify("k", |_| None).await.expect("left");
    assert_eq!(
        table.get("k").await.expect("reads").map(|entry| entry.revision),
        Some(revision)
    );
}

#[tokio::test]
async fn any_json_value_reads_back_as_it_was_written() {
    let (_bed, bus) = Bed::new().await;
    for bucket in [Bucket::Strategies, Bucket::Plans] {
        let table = bus.table::<Value>(bucket);
        for value in [json!(7), json!("text"), json!([1, 2]), json!({"a": 1.5}), json!(true)] {
            table.put("k", &value).await.expect("put");
            let entry = table.get("k").await.expect("reads").expect("is there");
            assert_eq!(entry.value, Some(value));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_sees_what_is_there_and_every_change() {
    let (_bed, bus) = Bed::new().await;
    let table = bus.table::<Note>(Bucket::Registry);
    table.put("worker.before", &note("before", 0)).await.expect("put");
    let mut watch = table.watch().await.expect("watches");
    let changing = async {
        table.put("worker.a", &note("a", 1)).await.expect("put");
        table.put("worker.a", &note("a", 2)).await.expect("put");
        table.delete("worker.a").await.expect("deleted");
        table.put("lead.b", &note("b", 1)).await.expect("put");
    };
    let watching = async {
        let mut seen: BTreeMap<String, Vec<Option<u32>>> = BTreeMap::new();
        while !seen.contains_key("lead.b") {
            let entry = tokio::time::timeout(SOON, watch.next())
                .await
                .expect("in time")
                .expect("open");
            let count = entry.value.map(|value| value.count);
            seen.entry(entry.key).or_default().push(count);
        }
        seen
    };
    let ((), seen) = tokio::join!(changing, watching);
    assert_eq!(seen["worker.before"], [Some(0)]);
    assert_eq!(seen["lead.b"], [Some(1)]);
    // A bucket keeps one value a key, so those in between may be gone before they are told; the last never is.
    let told = &seen["worker.a"];
    assert_eq!(told.last(), Some(&None), "{told:?}");
    let every = [Some(1), Some(2), None];
    let in_order = told.iter().map(|value| every.iter().position(|known| known == value));
    assert!(in_order.is_sorted(), "{told:?}");
    let all = table.all().await.expect("lists");
    assert_eq!(
        all.keys().map(String::as_str).collect::<Vec<_>>(),
        ["lead.b", "worker.before"]
    );
}

#[tokio::test]
async fn a_value_that_cannot_be_read_does_not_hide_the_others() {
    let (_bed, bus) = Bed::new().await;
    bus.table::<Value>(Bucket::Strategies)
        .put("bad", &json!("no note"))
        .await
        .expect("put");
    let table = bus.table::<Note>(Bucket::Strategies);
    let mut watch = table.watch().await.expect("watches");
    table.put("good", &note("x", 1)).await.expect("put");
    assert_eq!(table.all().await.expect("lists").len(), 1);
    let entry = tokio::time::timeout(SOON, watch.next())
        .await
        .expect("in time")
        .expect("open");
    assert_eq!(entry.key, "good");
    let error = table.get("bad").await.expect_err("unreadable");
    assert!(matches!(error, Error::Decode(_)), "{error:?}");
}

#[tokio::test]
async fn an_object_is_stored_once_and_checked_when_it_is_read() {
    let (bed, bus) = Bed::new().await;
    let objects = bus.objects(ObjectBucket::Workspaces);
    let bytes = Bytes::from(vec![7; 700 * 1024]);
    let digest = objects.put(bytes.clone()).await.expect("stored");
    assert_eq!(digest, Digest::of(&bytes));
    assert!(objects.contains(&digest).await.expect("asked"));
    assert!(!objects.contains(&Digest::of(b"other")).await.expect("asked"));
    let stream = format!("OBJ_{}", bus.namespace().objects(ObjectBucket::Workspaces));
    let last = |info: Value| info["state"]["last_seq"].as_u64().expect("a sequence");
    let before = last(
        json_request(&bus, &format!("STREAM.INFO.{stream}"), Value::Null)
            .await
            .expect("info"),
    );
    let other = bed.connect("other").await;
    let again = other.objects(ObjectBucket::Workspaces).put(bytes.clone()).await;
    assert_eq!(again.expect("there already"), digest);
    let after = last(
        json_request(&bus, &format!("STREAM.INFO.{stream}"), Value::Null)
            .await
            .expect("info"),
    );
    assert_eq!(before, after, "nothing was written the second time");
    assert_eq!(objects.get(&digest).await.expect("read"), bytes);
    let empty = objects.put(Bytes::new()).await.expect("stored");
    assert_eq!(objects.get(&empty).await.expect("read"), Bytes::new());

    let concurrent = join_all((0..4).map(|_| objects.put(Bytes::from_static(b"at once")))).await;
    for stored in concurrent {
        let read = objects.get(&stored.expect("stored")).await.expect("read");
        assert_eq!(&read[..], b"at once");
    }
}

#[tokio::test]
async fn a_damaged_object_is_never_believed() {
    let (_bed, bus) = Bed::new().await;
    let objects = bus.objects(ObjectBucket::Artifacts);
    let digest = objects
        .put(Bytes::from_static(b"what was meant"))
        .await
        .expect("stored");
    // One byte of its only chunk is flipped behind the store's back: removed and written anew under the same subject.
    let bucket = bus.namespace().objects(ObjectBucket::Artifacts);
    let stream = format!("OBJ_{bucket}");
    let found = json_request(
        &bus,
        &format!("STREAM.MSG.GET.{stream}"),
        json!({ "seq": 1, "next_by_subj": format!("$O.{bucket}.C.>") }),
    )
    .await
    .expect("the chunk");
    let subject = found["message"]["subject"].as_str().expect("a subject").to_owned();
    json_request(
        &bus,
        &format!("STREAM.MSG.DELETE.{stream}"),
        json!({ "seq": found["message"]["seq"] }),
    )
    .await
    .expect("deleted");
    let forged = axon_bus::Message {
        subject,
        headers: Default::default(),
        payload: Bytes::from_static(b"what was MEANT"),
    };
    bus.publish(forged).await.expect("published");
    let error = objects.get(&digest).await.expect_err("damaged");
    assert!(
        matches!(&error, Error::Damaged { expected, .. } if *expected == digest),
        "{error:?}"
    );
    assert!(!error.is_transient(), "it will not become whole");
}

#[tokio::test]
async fn an_object_under_the_name_of_another_is_not_believed() {
    let (_bed, bus) = Bed::new().await;
    let objects = bus.objects(ObjectBucket::Artifacts);
    let bucket = bus.namespace().objects(ObjectBucket::Artifacts);
    let mut entries = bus.subscribe(format!("$O.{bucket}.M.>")).await.expect("subscribes");
    let mut stored = Vec::new();
    for content in [&b"what was meant"[..], b"something else"] {
        let digest = objects.put(Bytes::from_static(content)).await.expect("stored");
        let entry = tokio::time::timeout(SOON, entries.next())
            .await
            .expect("in time")
            .expect("connected");
        let described: Value = serde_json::from_slice(entry.payload()).expect("JSON");
        stored.push((digest, entry.subject().to_owned(), described));
    }
    // The entry of the first now leads to the whole and undamaged content of the second.
    let (wanted, subject, described) = stored.remove(0);
    let mut forged = stored.remove(0).2;
    forged["name"] = described["name"].clone();
    let message = axon_bus::Message {
        subject,
        headers: [("Nats-Rollup".to_owned(), "sub".to_owned())].into(),
        payload: forged.to_string().into(),
    };
    bus.publish(message).await.expect("published");
    let error = objects.get(&wanted).await.expect_err("another object");
    assert!(
        matches!(&error, Error::Damaged { expected, .. } if *expected == wanted),
        "{error:?}"
    );
}
