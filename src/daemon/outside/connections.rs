//! The open connections of the status page or the control socket, and which one is closed when there are too many.
//!
//! A client that sends its request bit by bit, or never, or does not read its answer, holds a place. A few hundred of them,
//! of any user of this computer, would keep everybody else away. So the slowest gives way, first of those that come from
//! where most come from; but each has a moment to send its request, so that a flood does not push out who asks at once.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The most connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may wait for its next request although others wait for its place.
const GRACE: Duration = Duration::from_millis(500);

/// The places of the connections. `K`: where a client comes from.
#[derive(Debug)]
pub(crate) struct ConnectionPlaces<K> {
    connections: Mutex<Connections<K, CancellationToken>>,
    /// Notified when a connection has ended.
    ended: Notify,
}

/// The place of a connection. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place<K: Copy + Ord + Hash> {
    places: Arc<ConnectionPlaces<K>>,
    number: u64,
    close: CancellationToken,
}

impl<K> Default for ConnectionPlaces<K> {
    fn default() -> Self {
        Self { connections: Mutex::default(), ended: Notify::new() }
    }
}

impl<K: Copy + Ord + Hash> ConnectionPlaces<K> {
    /// Makes room for a connection, which then waits for its client's request.
    pub(crate) async fn enter(self: &Arc<Self>, from: K) -> Place<K> {
        let close = CancellationToken::new();
        let number = loop {
            let wait = {
                let mut connections = self.connections();
                match connections.room(Instant::now()) {
                    Room::Free => break connections.opened(from, close.clone(), Instant::now()),
                    Room::Closing(slowest) => {
                        slowest.cancel();
                        continue;
                    }
                    Room::In(wait) => wait,
                }
            };
            let _ = tokio::time::timeout(wait, self.ended.notified()).await;
        };
        Place { places: Arc::clone(self), number, close }
    }

    fn connections(&self) -> MutexGuard<'_, Connections<K, CancellationToken>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Ord + Hash> Place<K> {
    /// Returns when another connection needs the place.
    pub(crate) async fn is_needed(&self) {
        self.close.cancelled().await;
    }

    /// The client has sent a request.
    pub(crate) fn asked(&self) {
        self.places.connections().asked(self.number);
    }

    /// The answer, or the next part of it, is ready to be read.
    pub(crate) fn answered(&self) {
        self.places.connections().answered(self.number, Instant::now());
    }
}

impl<K: Copy + Ord + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        self.places.connections().closed(self.number);
        self.places.ended.notify_one();
    }
}

/// The open connections, each with what closes it. Pure.
#[derive(Debug)]
struct Connections<K, C> {
    open: BTreeMap<u64, Connection<K, C>>,
    arrivals: u64,
}

#[derive(Debug)]
struct Connection<K, C> {
    from: K,
    /// Since when it waits for its client: to ask, or to read the answer. `None`: it is being answered.
    waits_since: Option<Instant>,
    close: C,
}

/// Whether another connection has a place.
#[derive(Debug, PartialEq, Eq)]
enum Room<C> {
    Free,
    /// After this one is closed.
    Closing(C),
    /// Not before that long, unless one ends.
    In(Duration),
}

impl<K, C> Default for Connections<K, C> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), arrivals: 0 }
    }
}

impl<K: Copy + Ord + Hash, C> Connections<K, C> {
    /// Makes room for another connection.
    fn room(&mut self, now: Instant) -> Room<C> {
        if self.open.len() < MAX_CONNECTIONS {
            return Room::Free;
        }
        let mut counts: HashMap<K, usize> = HashMap::new();
        self.open.values().for_each(|connection| *counts.entry(connection.from).or_default() += 1);
        let waiting = self.open.iter().filter_map(|(number, connection)| {
            let waited = now.saturating_duration_since(connection.waits_since?);
            Some((counts.get(&connection.from).copied(), waited, Reverse(*number)))
        });
        match waiting.max() {
            Some((_, waited, Reverse(number))) if waited >= GRACE => {
                self.open.remove(&number).map_or(Room::Free, |connection| Room::Closing(connection.close))
            }
            Some((_, waited, _)) => Room::In(GRACE.saturating_sub(waited)),
            None => Room::In(GRACE),
        }
    }

    /// A connection begins. Returns its number.
    fn opened(&mut self, from: K, close: C, now: Instant) -> u64 {
        self.arrivals += 1;
        let connection = Connection { from, waits_since: Some(now), close };
        self.open.insert(self.arrivals, connection);
        self.arrivals
    }

    /// It has sent a request.
    fn asked(&mut self, number: u64) {
        self.open.entry(number).and_modify(|connection| connection.waits_since = None);
    }

    /// Its answer is ready.
    fn answered(&mut self, number: u64, now: Instant) {
        self.open.entry(number).and_modify(|connection| connection.waits_since = Some(now));
    }

    /// It has ended.
    fn closed(&mut self, number: u64) {
        self.open.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All places taken by a client, one connection each 10 ms.
    fn full(from: u32, start: Instant) -> Connections<u32, u64> {
        let mut connections = Connections::default();
        for n in 1..=MAX_CONNECTIONS as u64 {
            connections.opened(from, n, start + Duration::from_millis(10 * n));
        }
        connections
    }

    #[test]
    fn the_one_that_has_waited_longest_gives_way_after_its_moment() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut connections = full(1, start);
        assert_eq!(connections.room(at(400)), Room::In(Duration::from_millis(110)));
        // The first has asked, and waits for its answer.
        connections.asked(1);
        assert_eq!(connections.room(at(510)), Room::In(Duration::from_millis(10)));
        assert_eq!(connections.room(at(520)), Room::Closing(2));
        assert_eq!(connections.room(at(520)), Room::Free);
        connections.opened(1, 100, at(520));
        connections.answered(1, at(525));
        assert_eq!(connections.room(at(530)), Room::Closing(3));
        connections.opened(1, 101, at(530));
        connections.closed(4);
        assert_eq!(connections.room(at(530)), Room::Free);
    }

    #[test]
    fn who_has_most_connections_gives_way_first() {
        let start = Instant::now();
        let mut connections = Connections::default();
        // A browser that keeps its connection.
        connections.opened(1, 0, start);
        for n in 1..MAX_CONNECTIONS as u64 {
            connections.opened(2, n, start + Duration::from_secs(5));
        }
        assert_eq!(connections.room(start + Duration::from_secs(5)), Room::In(GRACE));
        assert_eq!(connections.room(start + Duration::from_secs(6)), Room::Closing(1));
    }

    #[test]
    fn nothing_that_is_being_answered_gives_way() {
        let start = Instant::now();
        let mut connections = full(1, start);
        (1..=MAX_CONNECTIONS as u64).for_each(|number| connections.asked(number));
        assert_eq!(connections.room(start + Duration::from_secs(60)), Room::In(GRACE));
    }
}
