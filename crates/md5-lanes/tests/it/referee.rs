//! What the tests share: noise, the referee's digests, and streams hashed side by side.

use md5::{Digest, Md5};
use md5_lanes::{Kernel, Md5State};

/// Numbers without a pattern, the same in every run.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// A length: most are short, some long, many next to the end of a block.
    pub fn length(&mut self, most: usize) -> usize {
        let bits = self.below(most.ilog2() as usize + 1);
        let length = self.below(2 << bits);
        let length = if self.below(3) == 0 { (length & !63) + self.below(3) } else { length };
        length.min(most)
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

pub fn referee(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

/// The digests of whole streams, side by side.
pub fn digests(kernel: Kernel, streams: &[&[u8]]) -> Vec<[u8; 16]> {
    let mut states = vec![Md5State::new(); streams.len()];
    let mut pieces: Vec<(&mut Md5State, &[u8])> = states.iter_mut().zip(streams.iter().copied()).collect();
    kernel.update(&mut pieces);
    assert!(pieces.iter().all(|(_, rest)| rest.is_empty()));
    states.into_iter().map(Md5State::finish).collect()
}
