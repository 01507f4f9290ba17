//! Fetches through gix: HTTP and HTTPS, and local repositories. The refs are listed first, so that a repository where nothing moved costs
//! one small question and no negotiation.
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use gix::bstr::ByteSlice as _;
use gix::protocol::transport::client::TransportWithoutIO as _;
use gix::protocol::transport::client::blocking_io::http::{Options, reqwest as backend};
use gix::remote::Direction;
use gix::remote::fetch::Shallow;

use super::access::{Access, Credentials};
use super::client;
use super::refs::Refs;
use super::remote::{Remote, Scheme};
use super::whole;

/// What is fetched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// Where to write what.
    pub(super) refspecs: &'a [String],
    /// Commits from each tip; 0 is all.
    pub(super) depth: u32,
    /// What is known already: where the server's list is the same, nothing is fetched.
    pub(super) known: Option<&'a Refs>,
}

/// Fetches, and answers where the server's refs point.
pub(super) fn fetch(
    repo: &gix::Repository,
    remote: &Remote,
    access: &Access,
    credentials: &Credentials,
    wanted: Wanted<'_>,
    time: Duration,
) -> Result<Refs, String> {
    let say = |error: &gix::Error| whole(error);
    let specs = wanted.refspecs.iter().map(String::as_str);
    let there = repo
        .remote_at(remote.url().as_str())
        .and_then(|remote| {
            remote.with_fetch_tags(gix::remote::fetch::Tags::None).with_refspecs(specs, Direction::Fetch)
        })
        .map_err(|error| say(&error))?;
    let mut connection = there.connect(Direction::Fetch).map_err(|error| say(&error))?;
    if remote.scheme != Scheme::File {
        let mut options = options(remote, access, time);
        match credentials {
            // The transport drops these when it is led to another server; headers would stop it there.
            Credentials::Basic { user, password }
                if remote.scheme == Scheme::Https && !access.settings.force_http_basic_auth =>
            {
                let account = gix::sec::identity::Account {
                    username: user.clone(),
                    password: password.clone(),
                    oauth_refresh_token: None,
                };
                connection.transport_mut().set_identity(account).map_err(|error| whole(&error))?;
            }
            other => options.extra_headers.extend(other.header().map(|value| format!("Authorization: {value}"))),
        }
        connection = connection.with_transport_options(Box::new(options));
    }
    let has_credentials = *credentials != Credentials::None;
    let connection = connection.with_credentials(move |_| Err(refused(has_credentials)));
    let deadline = Deadline::start(time);
    // With a depth, tags are listed but not fetched.
    let options = gix::remote::ref_map::Options {
        prefix_from_spec_as_filter_on_remote: wanted.depth == 0,
        ..gix::remote::ref_map::Options::default()
    };
    let mut prepared = connection.prepare_fetch(gix::progress::Discard, options).map_err(|error| say(&error))?;
    let refs = listed(&prepared.ref_map().remote_refs);
    if wanted.known == Some(&refs) {
        return Ok(refs);
    }
    if let Some(depth) = NonZeroU32::new(wanted.depth) {
        prepared = prepared.with_shallow(Shallow::DepthAtRemote(depth));
    }
    // Packed: names that differ in case only, and `a` beside `a/b` of an earlier day, are no conflict there.
    let outcome = prepared
        .with_write_packed_refs_only(true)
        .receive(gix::progress::Discard, &deadline.passed)
        .map_err(|error| if deadline.is_over() { format!("no end after {}s", time.as_secs()) } else { say(&error) })?;
    drop(outcome);
    Ok(refs)
}

fn refused(has_credentials: bool) -> gix::Error {
    gix::Error::from_error(std::io::Error::other(if has_credentials {
        "the server does not accept the credentials"
    } else {
        "the server wants credentials, and there are none for this URL"
    }))
}

fn options(remote: &Remote, access: &Access, time: Duration) -> Options {
    let (access, remote) = (access.clone(), remote.clone());
    let configure = move |builder| {
        client::configure(builder, &access, &remote, time)
            .map_err(|reason| gix::Error::from_error(std::io::Error::other(reason)))
    };
    let backend = backend::Options { configure_client: Some(Box::new(configure)), configure_request: None };
    Options { backend: Some(Arc::new(Mutex::new(backend))), ..Options::default() }
}

fn listed(remote_refs: &[gix::protocol::handshake::Ref]) -> Refs {
    use gix::protocol::handshake::Ref;
    let mut refs = Refs::default();
    for remote_ref in remote_refs {
        let (name, target, peeled) = remote_ref.unpack();
        let name = name.to_str_lossy().into_owned();
        if name != "HEAD" && !name.starts_with("refs/heads/") && !name.starts_with("refs/tags/") {
            continue;
        }
        if let Ref::Symbolic { target, .. } | Ref::Unborn { target, .. } = remote_ref
            && name == "HEAD"
        {
            refs.default_branch = Some(target.to_str_lossy().into_owned());
        }
        match (target, peeled) {
            (Some(tag), Some(commit)) => {
                refs.annotated.insert(name.clone(), tag.to_hex().to_string());
                refs.by_name.insert(name, commit.to_hex().to_string());
            }
            (Some(commit), None) | (None, Some(commit)) => {
                refs.by_name.insert(name, commit.to_hex().to_string());
            }
            (None, None) => {}
        }
    }
    refs
}

/// Tells gix to stop when the time is over.
struct Deadline {
    passed: Arc<AtomicBool>,
    _running: mpsc::Sender<()>,
}

impl Deadline {
    fn start(time: Duration) -> Self {
        let passed = Arc::new(AtomicBool::new(false));
        let (running, ended) = mpsc::channel::<()>();
        let flag = passed.clone();
        std::thread::spawn(move || {
            if ended.recv_timeout(time) == Err(mpsc::RecvTimeoutError::Timeout) {
                flag.store(true, Ordering::Relaxed);
            }
        });
        Self { passed, _running: running }
    }

    fn is_over(&self) -> bool {
        self.passed.load(Ordering::Relaxed)
    }
}
