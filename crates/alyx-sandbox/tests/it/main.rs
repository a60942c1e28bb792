//! The tests of the sandbox from outside, over HTTP: it answers as a recorded Alyx did.

mod behaves_like_alyx;
mod plays_faults;
mod replays_recorded_exchanges;
mod serves_the_python_client;
