//! The state as OpenMetrics, over HTTP: `GET /metrics` and nothing else.
//!
//! * [`book`](self): the metrics, from states and events.
//! * [`text`](self): their text format.
//! * [`server`](self): the server that they are scraped from.
//!
//! Labels are kinds, counters, interfaces and listeners. A client's address is in none of them, and there are at most
//! [`MOST_LISTENERS`] listeners: a scan of all ports makes no more series than that.

mod book;
mod server;
mod text;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

pub use self::book::MOST_LISTENERS;
use self::book::MetricValues;
use self::server::Server;
use super::event::LiveEvent;
use super::output::{Next, Output};
use super::state::WatchState;

/// Metrics that are being served.
#[derive(Debug)]
pub struct LiveMetrics {
    book: Arc<Mutex<MetricValues>>,
    server: Server,
}

impl LiveMetrics {
    /// Serves metrics at `address` until it is dropped.
    ///
    /// # Errors
    /// An address that is not this host's, is in use, or may not be used.
    pub fn serve(address: SocketAddr) -> io::Result<LiveMetrics> {
        let listener = TcpListener::bind(address)?;
        let book = Arc::new(Mutex::new(MetricValues::default()));
        let read = Arc::clone(&book);
        let page = move || text::page(&read.lock().unwrap_or_else(PoisonError::into_inner));
        let server = Server::start(listener, Arc::new(page))?;
        Ok(LiveMetrics { book, server })
    }

    /// The address at which they are served; if port 0 was asked for, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Updates all metrics from the current state and the events since the last call.
    pub fn note(&self, state: &WatchState, events: &[LiveEvent]) {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).note(state, events);
    }
}

impl Output for LiveMetrics {
    fn tick(&mut self, state: &WatchState, events: &[LiveEvent]) -> io::Result<Next> {
        self.note(state, events);
        Ok(Next::Go)
    }
}
