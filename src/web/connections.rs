//! The open connections of the page, and which one is closed when there are too many. Pure.
//!
//! A client that sends its request bit by bit, or never, holds a place. A few hundred of them, of any user of this
//! computer, would keep everybody else from the page. So the slowest gives way, first of those that come from where most
//! come from; but each has a moment to send its request, so that a flood does not push out who asks at once.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// The most connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may wait for its next request although others wait for its place.
const GRACE: Duration = Duration::from_millis(500);

/// The open connections, each with what closes it.
#[derive(Debug)]
pub(super) struct Connections<C> {
    open: BTreeMap<u64, Connection<C>>,
    arrivals: u64,
}

#[derive(Debug)]
struct Connection<C> {
    from: IpAddr,
    /// Since when it waits for its client: to ask, or to read the answer. `None`: it is being answered.
    waits_since: Option<Instant>,
    close: C,
}

/// Whether another connection has a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room<C> {
    Free,
    /// After this one is closed.
    Closing(C),
    /// Not before that long, unless one ends.
    In(Duration),
}

impl<C> Default for Connections<C> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), arrivals: 0 }
    }
}

impl<C> Connections<C> {
    /// Makes room for another connection.
    pub(super) fn room(&mut self, now: Instant) -> Room<C> {
        if self.open.len() < MAX_CONNECTIONS {
            return Room::Free;
        }
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        self.open.values().for_each(|connection| *counts.entry(connection.from).or_default() += 1);
        let waiting = self.open.iter().filter_map(|(number, connection)| {
            let waited = now.saturating_duration_since(connection.waits_since?);
            Some((counts.get(&connection.from).copied(), waited, *number))
        });
        match waiting.max() {
            Some((_, waited, number)) if waited >= GRACE => {
                self.open.remove(&number).map_or(Room::Free, |connection| Room::Closing(connection.close))
            }
            Some((_, waited, _)) => Room::In(GRACE.saturating_sub(waited)),
            None => Room::In(GRACE),
        }
    }

    /// A connection begins. Returns its number.
    pub(super) fn opened(&mut self, from: IpAddr, close: C, now: Instant) -> u64 {
        self.arrivals += 1;
        let connection = Connection { from: network(from), waits_since: Some(now), close };
        self.open.insert(self.arrivals, connection);
        self.arrivals
    }

    /// It has sent a request.
    pub(super) fn asked(&mut self, number: u64) {
        self.open.entry(number).and_modify(|connection| connection.waits_since = None);
    }

    /// Its answer is ready.
    pub(super) fn answered(&mut self, number: u64, now: Instant) {
        self.open.entry(number).and_modify(|connection| connection.waits_since = Some(now));
    }

    /// It has ended.
    pub(super) fn closed(&mut self, number: u64) {
        self.open.remove(&number);
    }
}

/// What one client can come from: an address, or a network of IPv6, of which each client has as many as it likes.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// All places taken by a client, one connection each 10 ms.
    fn full(from: IpAddr, start: Instant) -> Connections<u64> {
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
        let mut connections = full(address(1), start);
        assert_eq!(connections.room(at(400)), Room::In(Duration::from_millis(110)));
        // The first has asked, and waits for its answer.
        connections.asked(1);
        assert_eq!(connections.room(at(510)), Room::In(Duration::from_millis(10)));
        assert_eq!(connections.room(at(520)), Room::Closing(2));
        assert_eq!(connections.room(at(520)), Room::Free);
        connections.opened(address(1), 100, at(520));
        connections.answered(1, at(525));
        assert_eq!(connections.room(at(530)), Room::Closing(3));
        connections.opened(address(1), 101, at(530));
        connections.closed(4);
        assert_eq!(connections.room(at(530)), Room::Free);
    }

    #[test]
    fn who_has_most_connections_gives_way_first() {
        let start = Instant::now();
        let mut connections = Connections::default();
        // A browser that keeps its connection.
        connections.opened(address(1), 0, start);
        for n in 1..MAX_CONNECTIONS as u64 {
            connections.opened(address(2), n, start + Duration::from_secs(5));
        }
        assert_eq!(connections.room(start + Duration::from_secs(5)), Room::In(GRACE));
        assert_eq!(connections.room(start + Duration::from_secs(6)), Room::Closing(1));
    }

    #[test]
    fn nothing_that_is_being_answered_gives_way() {
        let start = Instant::now();
        let mut connections = full(address(1), start);
        (1..=MAX_CONNECTIONS as u64).for_each(|number| connections.asked(number));
        assert_eq!(connections.room(start + Duration::from_secs(60)), Room::In(GRACE));
    }

    #[test]
    fn addresses_of_one_network_of_ipv6_are_one_client() {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(network(parse("2001:db8::1")), network(parse("2001:db8::ffff:1")));
        assert_ne!(network(parse("2001:db8::1")), network(parse("2001:db8:0:1::1")));
        assert_eq!(network(parse("::ffff:192.0.2.1")), address(1));
        assert_ne!(network(address(1)), network(address(2)));
    }
}
