use super::*;
use crate::{PackLimits, Packed, pack};
use std::convert::Infallible;
use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering};

fn packed(text: &str) -> Packed {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("a.txt"), text).expect("written");
    fs::create_dir(dir.path().join("src")).expect("made");
    fs::write(dir.path().join("src/b.rs"), "fn b() {}\n").expect("written");
    pack(dir.path(), &PackLimits::default()).expect("packed")
}

fn cache(dir: &Path, max_bytes: u64) -> WorkspaceCache {
    WorkspaceCache::new(dir.join("cache"), max_bytes).expect("a cache")
}

async fn open(cache: &WorkspaceCache, packed: &Packed) -> Arc<Workspace> {
    let fetch = ready(Ok::<_, Infallible>(packed.bytes.clone()));
    cache.open(&packed.digest, fetch).await.expect("opened")
}

async fn never() -> Result<Vec<u8>, std::io::Error> {
    panic!("it is fetched though it is there")
}

fn on_disk(dir: &Path) -> usize {
    fs::read_dir(dir.join("cache")).expect("listed").count()
}

#[tokio::test]
async fn a_workspace_is_fetched_once_for_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let packed = packed("one");
    let (first, second) = (cache(dir.path(), 1 << 20), cache(dir.path(), 1 << 20));
    let fetches = AtomicUsize::new(0);
    let open = || async {
        let fetch = async {
            fetches.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(packed.bytes.clone())
        };
        first.open(&packed.digest, fetch).await.expect("opened")
    };
    let (a, b, c) = tokio::join!(open(), open(), open());
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
    assert!(Arc::ptr_eq(&a, &b) && Arc::ptr_eq(&b, &c));
    assert_eq!(a.read("src/b.rs").expect("read"), "fn b() {}\n");
    assert_eq!(*a.manifest(), packed.manifest);

    let other = second.open(&packed.digest, never()).await.expect("found on disk");
    assert_eq!(other.root(), a.root());
    assert_eq!(*other.manifest(), packed.manifest);
    drop((a, b, c));
    first.release_idle();
    first.open(&packed.digest, never()).await.expect("found on disk again");
}

#[tokio::test]
async fn what_is_damaged_or_cannot_be_fetched_is_an_error_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = cache(dir.path(), 1 << 20);
    let packed = packed("one");
    let mut damaged = packed.bytes.to_vec();
    damaged[10] ^= 1;
    let error = cache
        .open(&packed.digest, ready(Ok::<_, Infallible>(damaged)))
        .await
        .expect_err("damaged");
    assert!(matches!(error, CacheError::Digest { .. }), "{error}");

    let fetch = ready(Err::<Vec<u8>, _>("no such object"));
    let error = cache.open(&packed.digest, fetch).await.expect_err("not there");
    assert!(error.to_string().contains("no such object"), "{error}");

    let hostile = b"no archive".to_vec();
    let digest = Digest::of(&hostile);
    let error = cache
        .open(&digest, ready(Ok::<_, Infallible>(hostile)))
        .await
        .expect_err("no archive");
    assert!(matches!(error, CacheError::Unpack { .. }), "{error}");
    assert_eq!(on_disk(dir.path()), 0);
    open(&cache, &packed).await;
}

#[tokio::test]
async fn a_dropped_open_lets_the_next_one_start_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = cache(dir.path(), 1 << 20);
    let packed = packed("one");
    let stuck = cache.open(&packed.digest, std::future::pending::<Result<Vec<u8>, Infallible>>());
    tokio::select! {
        biased;
        _ = stuck => panic!("it never ends"),
        () = async { while Arc::strong_count(&cache.slot(&packed.digest)) < 3 { tokio::task::yield_now().await } } => {}
    }
    open(&cache, &packed).await;
}

#[tokio::test]
async fn the_least_recently_used_goes_and_what_is_in_use_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let texts: Vec<Packed> = (0..6).map(|n| packed(&n.to_string().repeat(1000))).collect();
    // Room for two: each has 1,010 bytes.
    let (cache, other) = (cache(dir.path(), 2500), cache(dir.path(), 2500));
    let path = |packed: &Packed| dir.path().join("cache").join(packed.digest.hex());
    let there = || texts.iter().map(|packed| path(packed).exists()).collect::<Vec<_>>();

    let held = open(&cache, &texts[0]).await;
    let held_elsewhere = open(&other, &texts[1]).await;
    for packed in &texts[2..] {
        open(&cache, packed).await;
    }
    cache.release_idle();
    other.release_idle();
    // Older times, so that the order does not hang on the clock's granularity.
    for (age_s, packed) in [(50, &texts[4]), (40, &texts[5])] {
        if let Ok(entry) = File::open(path(packed)) {
            entry
                .set_modified(SystemTime::now() - std::time::Duration::from_secs(age_s))
                .expect("set");
        }
    }
    open(&cache, &texts[2]).await;
    assert_eq!(there(), [true, true, true, false, false, false]);
    assert_eq!(held.read("a.txt").expect("still there"), "0".repeat(1000));
    assert_eq!(held_elsewhere.read("a.txt").expect("still there"), "1".repeat(1000));

    drop((held, held_elsewhere));
    cache.release_idle();
    other.release_idle();
    open(&cache, &texts[3]).await;
    assert_eq!(there().into_iter().filter(|there| *there).count(), 2);
    assert!(
        path(&texts[3]).exists() && path(&texts[2]).exists(),
        "the last ones used"
    );
}

#[tokio::test]
async fn a_cut_file_is_noticed_and_unpacked_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = cache(dir.path(), 1 << 20);
    let packed = packed("one");
    let file = open(&cache, &packed).await.root().join("a.txt");
    cache.release_idle();
    fs::write(&file, "").expect("cut");
    assert_eq!(open(&cache, &packed).await.read("a.txt").expect("read"), "one");
}

#[tokio::test]
async fn leftovers_of_killed_processes_go_and_those_of_living_ones_stay() {
    let dir = tempfile::tempdir().expect("a directory");
    cache(dir.path(), 1 << 20);
    let old = SystemTime::now() - std::time::Duration::from_secs(3600);
    let leave = |name: &str| {
        let path = dir.path().join("cache").join(name);
        fs::create_dir(&path).expect("made");
        let held = File::open(&path).expect("opened");
        held.set_modified(old).expect("set");
        (path, held)
    };
    let (dead, _) = leave(".staging-dead");
    let (living, lock) = leave(".staging-living");
    lock.lock_shared().expect("locked");
    let young = dir.path().join("cache/.staging-young");
    fs::create_dir(&young).expect("made");
    cache(dir.path(), 1 << 20);
    assert_eq!((dead.exists(), living.exists(), young.exists()), (false, true, true));
}

#[test]
fn a_directory_that_others_may_write_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("cache");
    fs::create_dir(&path).expect("made");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("set");
    let error = WorkspaceCache::new(&path, 1).err().expect("refused").to_string();
    assert!(error.contains("tools.workspaces.dir"), "{error}");
    assert!(WorkspaceCache::new(dir.path().join("deep/er"), 1).is_ok());
    fs::write(dir.path().join("file"), "").expect("written");
    assert!(WorkspaceCache::new(dir.path().join("file"), 1).is_err());
}
