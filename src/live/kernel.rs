//! The kernel of this machine as a source of facts, the namespace to watch, and the reduction of rights.
//!
//! Capabilities belong to threads. A capturing thread keeps `CAP_NET_RAW`, without which it could not reopen an
//! interface that was removed and came back; it only copies packets. All other threads keep none.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::capture::steady::SteadyClock;
use crate::fault;
use crate::host::Snapshot;
use crate::host::listeners::SocketStates;
use crate::host::process::{self, SocketOwner};
pub use crate::host::rights::{drop_rights, keep_capture_right};
use crate::live::witness::HostSource;
use crate::time::Timestamp;

/// How often settings and addresses are read; counters and listeners are read each time.
const SETTINGS: Duration = Duration::from_secs(5);
/// How often the states of processes are read, and after how many readings new processes are looked for.
const HOLDERS: Duration = Duration::from_secs(10);
const ALL_PROCESSES: u32 = 6;
/// The watch begins after this at the latest, whether or not all processes were looked at.
const FIRST_SEARCH: Duration = Duration::from_secs(2);
/// How often sockets are counted by state, while segments come and otherwise.
const STATES: Duration = Duration::from_secs(1);
const IDLE_STATES: Duration = Duration::from_secs(10);
/// How often it is checked whether a namespace still has its name.
const NAME: Duration = Duration::from_secs(1);
/// A namespace without a packet is looked at again after this.
const UNMOVED: Duration = Duration::from_millis(950);
/// A kernel that has not answered by then is not waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// A network namespace other than the one the program was started in.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// As typed.
    pub name: String,
    path: PathBuf,
    file: Arc<File>,
}

/// The state of a namespace that is held open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// It has its name, as far as that is known.
    Named,
    /// The name, or the process, is gone.
    Unnamed,
    /// Another namespace has the name.
    Replaced,
}

impl Namespace {
    /// The namespace of that name (`ip netns list`), or of the process with that number.
    ///
    /// # Errors
    /// The namespace does not exist or may not be read. The message says what to do.
    pub fn open(name: &str) -> Result<Namespace, String> {
        let is_process = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
        let path = match is_process {
            true => Path::new("/proc").join(name).join("ns/net"),
            false if name.contains('/') => PathBuf::from(name),
            false => Path::new("/run/netns").join(name),
        };
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if is_process => format!("--netns {name}: no process {name}"),
            io::ErrorKind::NotFound => {
                let known = names();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                format!(
                    "--netns {name}: no network namespace of that name. There are: {known}. For that of a process give \
                     its number: --netns PID"
                )
            }
            _ => format!(
                "--netns {name}: {}: {error}. To enter a namespace takes CAP_SYS_ADMIN: use sudo",
                path.display()
            ),
        })?;
        Ok(Namespace { name: name.to_owned(), path, file: Arc::new(file) })
    }

    /// Its present state.
    fn fate(&self) -> Fate {
        match (fs::metadata(&self.path).and_then(|named| number(&named)), self.number()) {
            (Ok(named), Ok(own)) if named != own => Fate::Replaced,
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => Fate::Unnamed,
            _ => Fate::Named,
        }
    }

    /// That in words.
    fn describe(&self, fate: Fate) -> String {
        let Namespace { name, .. } = self;
        match fate {
            Fate::Named => format!("the network namespace {name} has its name again"),
            Fate::Unnamed => format!(
                "the network namespace {name} was deleted, or its process has ended; what still uses it is still watched"
            ),
            Fate::Replaced => format!(
                "{name} is now the name of another network namespace. The earlier one is still watched; start again to watch the new one"
            ),
        }
    }

    /// Its number in the kernel.
    ///
    /// # Errors
    /// What the system says.
    pub fn number(&self) -> io::Result<u32> {
        number(&self.file.metadata()?)
    }

    /// The number of the namespace of the calling thread.
    ///
    /// # Errors
    /// What the system says.
    pub fn own_number() -> io::Result<u32> {
        number(&fs::metadata("/proc/thread-self/ns/net")?)
    }

    /// Moves the calling thread there.
    ///
    /// # Errors
    /// Usually that this needs `CAP_SYS_ADMIN`; the message says so.
    pub fn enter(&self) -> io::Result<()> {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|error| {
            let error = io::Error::from(error);
            match error.kind() {
                io::ErrorKind::PermissionDenied => io::Error::new(
                    error.kind(),
                    format!(
                        "--netns {}: to enter a namespace takes CAP_SYS_ADMIN: sudo synscope live --netns {} ...",
                        self.name, self.name
                    ),
                ),
                _ => io::Error::new(error.kind(), format!("--netns {}: {error}", self.name)),
            }
        })
    }
}

fn number(file: &fs::Metadata) -> io::Result<u32> {
    u32::try_from(file.ino()).map_err(|_| io::Error::other("no namespace has such a number"))
}

/// The namespaces that have names.
fn names() -> Vec<String> {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// A query to the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    /// A snapshot of its current state.
    Now,
    /// The same, unless no packet has come since the last look.
    IfMoved,
}

/// A thread in the namespace that is watched; it reads what the kernel knows when it is asked.
pub struct Kernel {
    ask: Sender<Question>,
    answers: Receiver<Option<Snapshot>>,
    /// Answers that came too late and have not arrived yet.
    owed: usize,
    /// The namespace, if it is not the one of this program.
    namespace: Option<(Namespace, Fate, Instant)>,
    /// The snapshot taken at the start, before packets are captured: all packets are later than it.
    first: Option<Snapshot>,
}

impl Kernel {
    /// Starts it.
    ///
    /// # Errors
    /// The namespace cannot be entered, or a thread cannot be started.
    pub fn start(namespace: Option<Namespace>) -> io::Result<Kernel> {
        let holders = Holders::start()?;
        let (ask, asked) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let (begun, has_begun) = mpsc::channel();
        let held = namespace.clone().map(|namespace| (namespace, Fate::Named, Instant::now()));
        thread::Builder::new().name("kernel".to_owned()).spawn(move || {
            let ready = namespace.map_or(Ok(()), |namespace| namespace.enter()).and_then(|()| drop_rights());
            let failed = ready.is_err();
            if begun.send(ready).is_err() || failed {
                return;
            }
            let mut known: Option<(Instant, Snapshot)> = None;
            let mut clock = SteadyClock::default();
            let mut states = States::default();
            let mut moves = PacketWatch::default();
            while let Ok(question) = asked.recv() {
                clock.look();
                if !moves.is_worth_a_look() && question == Question::IfMoved {
                    if answer.send(None).is_err() {
                        return;
                    }
                    continue;
                }
                let look = fault::contain(|| match &known {
                    Some((at, known)) if at.elapsed() < SETTINGS => known.renew().ok(),
                    _ => {
                        let look = Snapshot::of_this_host().ok();
                        known = look.clone().map(|look| (Instant::now(), look));
                        look
                    }
                });
                // If the program fails at a look, that look shows nothing.
                let look = look.ok().flatten();
                let offset = clock.offset();
                let look = look.map(|look| Snapshot {
                    states: fault::contain(|| states.count(&look)).ok().flatten(),
                    holders: holders.known(),
                    time: look.time.after(offset),
                    finished: look.finished.after(offset),
                    ..look
                });
                if answer.send(look).is_err() {
                    return;
                }
            }
        })?;
        has_begun.recv().unwrap_or_else(|_| Err(io::Error::other("its thread ended")))?;
        let mut kernel = Kernel { ask, answers, owed: 0, namespace: held, first: None };
        kernel.first = kernel.ask(Question::Now);
        Ok(kernel)
    }
}

/// Whether the namespace has had a packet since the last look.
#[derive(Default)]
struct PacketWatch {
    counted: Option<[String; 2]>,
    looked: Option<Instant>,
}

impl PacketWatch {
    /// Whether a packet has come, or the last look is long ago: then another look is due.
    fn is_worth_a_look(&mut self) -> bool {
        let counted = Snapshot::counted().ok();
        let is_other = counted.is_none() || counted != self.counted;
        let is_due = self.looked.is_none_or(|looked| looked.elapsed() >= UNMOVED);
        if is_other || is_due {
            self.counted = counted;
            self.looked = Some(Instant::now());
        }
        is_other || is_due
    }
}

/// The sockets by state, as they were counted last.
#[derive(Default)]
struct States {
    known: Option<Arc<BTreeMap<SocketAddr, SocketStates>>>,
    counted: Option<Instant>,
    segments: u64,
}

impl States {
    /// Counts them again if the next count is due.
    fn count(&mut self, look: &Snapshot) -> Option<Arc<BTreeMap<SocketAddr, SocketStates>>> {
        let segments = look.counters.get("TcpInSegs").copied().unwrap_or(0);
        let every = if segments == self.segments { IDLE_STATES } else { STATES };
        if self.counted.is_none_or(|counted| counted.elapsed() >= every) {
            (self.counted, self.segments) = (Some(Instant::now()), segments);
            self.known = look.count_states().map(Arc::new);
        }
        self.known.clone()
    }
}

/// Who holds the listening sockets: looked for in a thread of its own, since a machine may have very many processes.
struct Holders {
    known: Arc<Mutex<Arc<BTreeMap<u64, SocketOwner>>>>,
    /// Ends the thread when it is dropped.
    _goes_on: Sender<()>,
}

impl Holders {
    /// Looks for them once with all rights, and then repeatedly without.
    fn start() -> io::Result<Holders> {
        let known: Arc<Mutex<Arc<BTreeMap<u64, SocketOwner>>>> = Arc::default();
        let (goes_on, ended) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel::<()>();
        let shared = Arc::clone(&known);
        thread::Builder::new().name("processes".to_owned()).spawn(move || {
            let proc = Path::new("/proc");
            let publish = |found| {
                *shared.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(found);
            };
            let mut found = process::holders(proc);
            if drop_rights().is_err() {
                return;
            }
            publish(found.clone());
            let _ = begun.send(());
            let mut round = 0_u32;
            while ended.recv_timeout(HOLDERS) == Err(RecvTimeoutError::Timeout) {
                round += 1;
                let mut now: BTreeMap<u64, SocketOwner> =
                    found.iter().filter_map(|(inode, holder)| Some((*inode, holder.renew(proc)?))).collect();
                if round.is_multiple_of(ALL_PROCESSES) {
                    process::holders(proc).into_iter().for_each(|(inode, holder)| {
                        now.entry(inode).or_insert(holder);
                    });
                }
                found = now;
                publish(found.clone());
            }
        })?;
        let _ = has_begun.recv_timeout(FIRST_SEARCH);
        Ok(Holders { known, _goes_on: goes_on })
    }

    fn known(&self) -> Arc<BTreeMap<u64, SocketOwner>> {
        Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HostSource for Kernel {
    fn look(&mut self, _: Timestamp) -> Option<Snapshot> {
        self.first.take().or_else(|| self.ask(Question::Now))
    }

    fn look_if_moved(&mut self, _: Timestamp) -> Option<Snapshot> {
        self.ask(Question::IfMoved)
    }

    fn news(&mut self) -> Option<String> {
        let (namespace, known, looked) = self.namespace.as_mut()?;
        if looked.elapsed() < NAME {
            return None;
        }
        *looked = Instant::now();
        let fate = namespace.fate();
        (std::mem::replace(known, fate) != fate).then(|| namespace.describe(fate))
    }
}

impl Kernel {
    fn ask(&mut self, question: Question) -> Option<Snapshot> {
        while self.owed > 0 && self.answers.try_recv().is_ok() {
            self.owed -= 1;
        }
        self.ask.send(question).ok()?;
        self.owed += 1;
        let until = Instant::now() + PATIENCE;
        // Answers come in the order of the questions: the last one outstanding belongs to this question.
        while self.owed > 0 {
            let left = until.saturating_duration_since(Instant::now());
            let answer = self.answers.recv_timeout(left).ok()?;
            self.owed -= 1;
            if self.owed == 0 {
                return answer;
            }
        }
        None
    }
}
