//! Every kernel gives the MD5 of every stream, whatever its pieces: RFC 1321's examples, and the `md-5` crate as referee.

mod fuzz;
mod lengths;
mod pieces;
mod referee;
