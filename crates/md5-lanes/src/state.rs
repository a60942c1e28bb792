//! One stream.

use crate::vectors::{Block, Chain, run_scalar};

/// The MD5 of a stream of which some pieces have come: 88 bytes, without a reference to any piece.
///
/// ```
/// let mut state = md5_lanes::Md5State::new();
/// state.update(b"message ");
/// state.update(b"digest");
/// assert_eq!(state.finish()[..4], [0xf9, 0x6b, 0x69, 0x7d]);
/// ```
///
/// [`Kernel::update`](crate::Kernel::update) adds pieces to many streams at once.
#[derive(Debug, Clone)]
pub struct Md5State {
    pub(crate) chain: Chain,
    /// The bytes of all pieces.
    length: u64,
    /// The end of the last piece that did not fill a block, or a block that is full and not yet added.
    pub(crate) pending: Block,
    filled: u8,
}

impl Md5State {
    /// A stream without any bytes.
    #[must_use]
    pub const fn new() -> Self {
        let chain = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
        Self { chain, length: 0, pending: [0; 64], filled: 0 }
    }

    /// How many bytes have been added.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Adds the next bytes of this stream. Alone, a stream is as fast as a chain of 288 dependent instructions a block.
    pub fn update(&mut self, mut piece: &[u8]) {
        self.fill_pending(&mut piece);
        if self.take_full() {
            run_scalar(std::array::from_mut(&mut self.chain), &[std::slice::from_ref(&self.pending)]);
        }
        let (blocks, mut rest) = piece.as_chunks();
        run_scalar(std::array::from_mut(&mut self.chain), &[blocks]);
        self.append(&mut rest);
    }

    /// The MD5 of all that was added.
    #[must_use]
    pub fn finish(mut self) -> [u8; 16] {
        let bits = self.length.wrapping_mul(8).to_le_bytes();
        // A one, zeros up to 8 bytes before the end of a block, and the length.
        let zeros = (64 + 55 - usize::from(self.filled)) % 64;
        let mut padding = [0; 1 + 63 + 8];
        padding[0] = 0x80;
        padding[1 + zeros..1 + zeros + 8].copy_from_slice(&bits);
        self.update(&padding[..1 + zeros + 8]);
        let mut digest = [0; 16];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(self.chain) {
            *bytes = word.to_le_bytes();
        }
        digest
    }

    /// Moves the start of a piece into the pending block, if there is one; all of the piece, if it fills no block.
    pub(crate) fn fill_pending(&mut self, piece: &mut &[u8]) {
        self.length = self.length.wrapping_add(piece.len() as u64);
        if self.filled > 0 {
            self.append(piece);
        }
    }

    /// Whether the pending block waits to be added; it counts as added from now on.
    pub(crate) fn take_full(&mut self) -> bool {
        let is_full = usize::from(self.filled) == self.pending.len();
        if is_full {
            self.filled = 0;
        }
        is_full
    }

    /// Moves from the piece as many bytes as the pending block takes.
    pub(crate) fn append(&mut self, piece: &mut &[u8]) {
        let free = &mut self.pending[usize::from(self.filled)..];
        let (moved, rest) = piece.split_at(piece.len().min(free.len()));
        free[..moved.len()].copy_from_slice(moved);
        self.filled += moved.len() as u8;
        *piece = rest;
    }
}

impl Default for Md5State {
    fn default() -> Self {
        Self::new()
    }
}
