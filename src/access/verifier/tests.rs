//! The thread, with a clock that a test tells the time.

use std::io::Write;
use std::path::PathBuf;
use std::task::Waker;

use super::super::token::Hash;
use super::*;

/// A file of `--auth` for a test, and the time as the test tells it.
struct Scene {
    file: PathBuf,
    now: Arc<AtomicU64>,
}

impl Scene {
    fn new(name: &str) -> Self {
        let file = std::env::temp_dir().join(format!("jq-auth-{name}-{}", std::process::id()));
        let scene = Self { file, now: Arc::new(AtomicU64::new(1)) };
        scene.write(&["site.0123456789abcdef", "other.0123456789abcdef"]);
        scene
    }

    /// Has these tokens, and no others, in the file.
    fn write(&self, tokens: &[&str]) {
        let principal = |token: &&str| {
            let (name, _) = token.split_once('.').unwrap();
            let hash = Hash::cheap(token);
            format!("[[principal]]\nname = \"{name}\"\ntokens = [\"{}\"]\n", hash.as_str())
        };
        std::fs::write(&self.file, tokens.iter().map(principal).collect::<String>()).unwrap();
    }

    fn start(&self) -> Verifier {
        let access = Arc::new(Access::open(&self.file).unwrap());
        Verifier::start(access, Clock::told(Arc::clone(&self.now))).unwrap()
    }

    fn pass(&self, time: Duration) {
        self.now.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

fn token(text: &str) -> Token {
    Token::new(text.as_bytes()).unwrap()
}

fn address(last: u8) -> Option<IpAddr> {
    Some(IpAddr::from([10, 0, 0, last]))
}

fn wait(verification: Verification) -> Verdict {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(verification)
}

/// Whether it is ready without waiting.
fn poll(verification: &mut Verification) -> Poll<Verdict> {
    Pin::new(verification).poll(&mut Context::from_waker(Waker::noop()))
}

fn name(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Right(identity) => &identity.principal.name,
        Verdict::Wrong => "wrong",
        Verdict::Unknown => "unknown",
    }
}

#[test]
fn a_right_token_is_known_at_once_when_it_comes_again() {
    let scene = Scene::new("again");
    let verifier = scene.start();
    let site = token("site.0123456789abcdef");
    let first = wait(verifier.verify(site.clone(), address(1)));
    assert_eq!(name(&first), "site");
    let again = poll(&mut verifier.verify(site.clone(), address(2)));
    assert_eq!(again, Poll::Ready(first));
    assert_eq!(name(&wait(verifier.verify(token("other.0123456789abcdef"), None))), "other");
    let counts = Counts { right: 2, remembered: 1, ..Counts::default() };
    assert_eq!(verifier.counts(), counts);
    // Also from an address that has guessed, and without its delay.
    assert_eq!(wait(verifier.verify(token("site.0123456789abcdeg"), address(1))), Verdict::Wrong);
    assert!(poll(&mut verifier.verify(site, address(1))).is_ready());
}

#[test]
fn a_token_that_is_not_in_the_next_file_is_not_remembered() {
    let scene = Scene::new("removed");
    let verifier = scene.start();
    let (site, other) = (token("site.0123456789abcdef"), token("other.0123456789abcdef"));
    assert_eq!(name(&wait(verifier.verify(site.clone(), None))), "site");
    assert_eq!(name(&wait(verifier.verify(other.clone(), None))), "other");
    scene.write(&["other.0123456789abcdef"]);
    verifier.shared.access.reload().unwrap();
    assert_eq!(wait(verifier.verify(site, None)), Verdict::Wrong);
    assert_eq!(name(&wait(verifier.verify(other, None))), "other");
    // Its hash is still there.
    assert_eq!(verifier.counts().remembered, 1);
}

#[test]
fn of_many_with_the_same_token_one_is_verified() {
    let scene = Scene::new("many");
    let verifier = scene.start();
    let site = token("site.0123456789abcdef");
    let all: Vec<_> = (0..100).map(|last| verifier.verify(site.clone(), address(last))).collect();
    assert!(all.into_iter().all(|one| name(&wait(one)) == "site"));
    let counts = verifier.counts();
    assert_eq!((counts.right, counts.remembered, counts.waiting), (1, 99, 0));
}

#[test]
fn an_address_with_a_wrong_token_waits_and_no_other() {
    let scene = Scene::new("delay");
    let verifier = scene.start();
    let (site, bad) = (token("site.0123456789abcdef"), token("site.0123456789abcdeg"));
    assert_eq!(wait(verifier.verify(bad.clone(), address(1))), Verdict::Wrong);
    let mut delayed = verifier.verify(site, address(1));
    for number in 0..5 {
        assert_eq!(wait(verifier.verify(bad.clone(), address(2 + number))), Verdict::Wrong);
    }
    assert_eq!(wait(verifier.verify(bad, None)), Verdict::Wrong);
    assert_eq!(poll(&mut delayed), Poll::Pending);
    assert_eq!(verifier.counts().waiting, 1);
    scene.pass(Duration::from_millis(100));
    assert_eq!(name(&wait(delayed)), "site");
    assert_eq!(verifier.counts(), Counts { right: 1, wrong: 7, ..Counts::default() });
}

#[test]
fn whoever_gives_up_does_not_wait_and_leaves_nothing() {
    let scene = Scene::new("gone");
    let verifier = scene.start();
    let bad = token("site.0123456789abcdeg");
    assert_eq!(wait(verifier.verify(bad.clone(), address(1))), Verdict::Wrong);
    let waiting: Vec<_> = (0..1000).map(|_| verifier.verify(bad.clone(), address(1))).collect();
    assert_eq!(verifier.counts().waiting, 1000);
    drop(waiting);
    assert_eq!(verifier.counts().waiting, 0);
    assert_eq!(verifier.counts().wrong, 1);
}

#[test]
fn when_the_server_stops_nobody_waits() {
    let scene = Scene::new("stops");
    let verifier = scene.start();
    let bad = token("site.0123456789abcdeg");
    assert_eq!(wait(verifier.verify(bad.clone(), address(1))), Verdict::Wrong);
    let waiting = verifier.verify(bad, address(1));
    drop(verifier);
    assert_eq!(wait(waiting), Verdict::Unknown);
}

/// What is logged, for a test.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_wrong_token_is_logged_without_the_token() {
    let scene = Scene::new("logged");
    let verifier = scene.start();
    let lines = Lines::default();
    let writer = lines.clone();
    let log =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let shared = &verifier.shared;
    tracing::subscriber::with_default(log, || {
        let v4 = address(7).map(Into::into);
        let v6 = Some("2001:db8::7".parse::<IpAddr>().unwrap().into());
        shared.tell_wrong(v4, &token("site.a-secret-of-many-letters"));
        shared.tell_wrong(v4, &token("site.a-secret-of-many-letters"));
        shared.tell_wrong(v6, &token("a-secret-without-a-name"));
        shared.tell_wrong(None, &token("x\\..a-secret-of-many-letters"));
        scene.pass(Duration::from_secs(1));
        shared.tell_wrong(v4, &token("else.a-secret-of-many-letters"));
    });
    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(!lines.contains("secret"), "{lines}");
    let told: Vec<_> = lines.lines().map(|line| line.split_once("refused ").unwrap().1).collect();
    assert_eq!(
        told,
        [
            "principal=\"site\" address=\"10.0.0.7\" refused=1",
            "principal=\"(no name)\" address=\"2001:db8::/64\" refused=1",
            "principal=\"(no name)\" address=\"a Unix socket\" refused=1",
            "principal=\"else\" address=\"10.0.0.7\" refused=2",
        ]
    );
}
