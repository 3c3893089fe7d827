//! The server of the page and its limits: a few clients at once, each for some seconds, whatever they send.
//!
//! It is an HTTP/1.1 server of one page in the time that a scrape needs. A library for servers would bring routing,
//! keep-alive and a thread pool that a slow client fills. This server only has to keep its limits.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::fault;

/// Clients that are served at once. When one more comes, the connection of the oldest is closed: a scrape takes
/// milliseconds, so that client is slow.
pub(super) const MOST_CLIENTS: usize = 8;
/// How long a client may take to send its request, and again to read the answer, at whatever pace.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// The longest head of a request, bytes.
const MOST_BYTES: usize = 8 << 10;
/// Header lines of a request.
const MOST_HEADERS: usize = 64;
/// How often the server checks whether it must end.
const LOOK: Duration = Duration::from_millis(500);
/// If no descriptor is left, accepting is tried again after this.
const PAUSE: Duration = Duration::from_millis(20);
/// The type of the page.
const CONTENT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What makes the page.
type PageSource = Arc<dyn Fn() -> String + Send + Sync>;

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `page` on `listener`.
    pub fn start(listener: TcpListener, page: PageSource) -> io::Result<Server> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let ending = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ending);
        let thread = thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || accept(&listener, &page, &told))?;
        Ok(Server { address, ending, thread: Some(thread) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        // Clients that are being served are left to their time limits.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, page: &PageSource, ending: &AtomicBool) {
    let clients = Clients::default();
    let mut next = 0;
    while !ending.load(Ordering::SeqCst) {
        let Ok((stream, _)) = listener.accept() else {
            wait(listener);
            continue;
        };
        next += 1;
        let Some(place) = ClientSlot::claim(&clients, next, &stream) else { continue };
        let page = Arc::clone(page);
        // If no thread can be started, the client's connection is closed.
        let _ = thread::Builder::new().name("scrape".to_owned()).spawn(move || {
            let _place = place;
            // An error means that the client went away. If the program fails, the client's connection is closed.
            let _ = fault::contain(|| serve(stream, &page));
        });
    }
}

/// Waits for a client.
#[cfg(target_os = "linux")]
fn wait(listener: &TcpListener) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let most = Timespec { tv_sec: 0, tv_nsec: LOOK.subsec_nanos().into() };
    if poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&most)) != Ok(0) {
        // A client is waiting. If it cannot be accepted, no descriptor is left.
        thread::sleep(PAUSE / 10);
    }
}

#[cfg(not(target_os = "linux"))]
fn wait(_: &TcpListener) {
    thread::sleep(PAUSE);
}

/// The clients that are served, the oldest first: a number and another handle of the connection of each.
#[derive(Clone, Default)]
struct Clients(Arc<Mutex<VecDeque<(u64, TcpStream)>>>);

impl Clients {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, TcpStream)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's place among those that are served.
struct ClientSlot(Clients, u64);

impl ClientSlot {
    /// Claims a slot. When all are taken, the oldest client's connection is closed and its thread ends.
    fn claim(clients: &Clients, number: u64, stream: &TcpStream) -> Option<ClientSlot> {
        let handle = stream.try_clone().ok()?;
        let mut all = clients.lock();
        while all.len() >= MOST_CLIENTS {
            if let Some((_, oldest)) = all.pop_front() {
                let _ = oldest.shutdown(Shutdown::Both);
            }
        }
        all.push_back((number, handle));
        drop(all);
        Some(ClientSlot(clients.clone(), number))
    }
}

impl Drop for ClientSlot {
    fn drop(&mut self) {
        self.0.lock().retain(|(number, _)| *number != self.1);
    }
}

/// One request, one answer.
fn serve(mut stream: TcpStream, page: &PageSource) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let answer = match read_head(&mut stream)? {
        Some(head) => answer(&head, page),
        None => status("400 Bad Request", ""),
    };
    write_all(&mut stream, answer.as_bytes())
}

/// The head of a request; `None` for one that is too long, or that ends too early.
fn read_head(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let until = Instant::now() + PATIENCE;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        stream.set_read_timeout(Some(left(until)?))?;
        let n = stream.read(&mut buffer)?;
        head.extend_from_slice(&buffer[..n]);
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            return Ok(Some(head));
        }
        if n == 0 || head.len() > MOST_BYTES {
            return Ok(None);
        }
    }
}

fn write_all(stream: &mut TcpStream, mut rest: &[u8]) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        let n = stream.write(rest)?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        rest = &rest[n..];
    }
    stream.shutdown(std::net::Shutdown::Write)
}

/// The time until `until`.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn answer(head: &[u8], page: &PageSource) -> String {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    if !matches!(request.parse(head), Ok(httparse::Status::Complete(_))) {
        return status("400 Bad Request", "");
    }
    let path = request.path.unwrap_or_default();
    // Scrapers may add parameters; they have no effect.
    if path.split('?').next() != Some("/metrics") {
        return status("404 Not Found", "");
    }
    if request.method != Some("GET") {
        return status("405 Method Not Allowed", "Allow: GET\r\n");
    }
    let page = page();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {CONTENT}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    )
}

/// An answer without a page.
fn status(line: &str, header: &str) -> String {
    format!("HTTP/1.1 {line}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n")
}
