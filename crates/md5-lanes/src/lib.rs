//! MD5 of many streams at once.
//!
//! Each step of MD5 waits for the step before, so a processor computes one stream far below what it can do. Streams do not
//! wait for each other: side by side, one in each lane of the vector registers, 8 to 32 streams take little longer than one.
//!
//! [`Md5State`] is one stream; [`Kernel::update`] adds pieces to any number of them. Nothing here reads, allocates more than
//! a list of lanes, or keeps a thread: the caller decides what is hashed, in which portions, and where.
#![forbid(unsafe_code)]

mod kernel;
mod rounds;
mod state;
mod vectors;

pub use kernel::Kernel;
pub use state::Md5State;
