//! Streams in the lanes of vectors: how their blocks get in, and the loop over their blocks.
//!
//! The vectors are those of `fearless_simd`, which proves by a token that the processor has the instructions: one source
//! for all levels, intrinsics without `unsafe`, and no dependencies. `pulp` offers as much, with ten more crates. Of the
//! crates with MD5 itself, `md5-many` 0.1.0-alpha.4 is as fast with 8 and with 32 streams, but at about half the speed
//! with 2 to 4 and with 12, and has 161 lines with `unsafe`; `md5-simd` 0.2.0 hashes streams that come in pieces one
//! after the other.

#[cfg(target_arch = "aarch64")]
use fearless_simd::aarch64::Neon;
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
use fearless_simd::x86::{Avx2, Avx512, Sse2};
use fearless_simd::{prelude::*, u8x16, u32x4};

use crate::rounds::{Word, compress, constants};

/// A block of a message.
pub(crate) type Block = [u8; 64];

/// The four words that a stream carries from block to block.
pub(crate) type Chain = [u32; 4];

/// A kind of vector: its level, and what is best done in another way at each.
pub(crate) trait Vector: Simd {
    /// Whether one instruction does any function of three words.
    const HAS_TERNARY: bool = false;

    /// The four words in a quarter of the block of each lane.
    fn gather(self, blocks: &[&Block; 16], quarter: usize) -> [Self::u32s; 4];
}

/// One word of each stream.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<V: Simd>(V::u32s);

impl<V: Vector> Word for Lanes<V> {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
    #[inline(always)]
    fn plus_constant(self, constant: u32) -> Self {
        Self(self.0 + constant)
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
    #[inline(always)]
    fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }
    #[inline(always)]
    fn not(self) -> Self {
        Self(!self.0)
    }
    #[inline(always)]
    fn rotate(self, bits: u32) -> Self {
        Self((self.0 << bits) | (self.0 >> (32 - bits)))
    }
    #[inline(always)]
    fn plus_g(self, b: Self, c: Self, d: Self) -> Self {
        if V::HAS_TERNARY {
            self.plus(b.xor(c).and(d).xor(c))
        } else {
            self.plus(d.not().and(c)).plus(b.and(d))
        }
    }
}

/// A quarter of a block: four words of one stream.
#[inline(always)]
fn load<S: Simd>(simd: S, block: &Block, quarter: usize) -> u32x4<S> {
    u8x16::load_array_ref(simd, &block.as_chunks().0[quarter]).bitcast()
}

/// Vectors of four words: a transpose of 4 by 4 words.
macro_rules! four_lanes {
    ($level:ident) => {
        impl Vector for $level {
            #[inline(always)]
            fn gather(self, blocks: &[&Block; 16], quarter: usize) -> [Self::u32s; 4] {
                let (a, b) = (load(self, blocks[0], quarter), load(self, blocks[1], quarter));
                let (c, d) = (load(self, blocks[2], quarter), load(self, blocks[3], quarter));
                let (ac, bd) = (a.interleave(c), b.interleave(d));
                let (first, last) = (ac.0.interleave(bd.0), ac.1.interleave(bd.1));
                [first.0, first.1, last.0, last.1]
            }
        }
    };
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
four_lanes!(Sse2);
#[cfg(target_arch = "aarch64")]
four_lanes!(Neon);

/// Wider vectors: the quarters of several streams side by side in one vector, and then the same transposes in each
/// 128 bits of it, which are cheaper than moves across the whole vector.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
mod x86 {
    #[cfg(target_arch = "x86")]
    use std::arch::x86::*;
    #[cfg(target_arch = "x86_64")]
    use std::arch::x86_64::*;

    use fearless_simd::{u32x8, u32x16};

    use super::*;

    impl Vector for Avx2 {
        #[inline(always)]
        fn gather(self, blocks: &[&Block; 16], quarter: usize) -> [Self::u32s; 4] {
            let mut rows = [u32x8::splat(self, 0); 4];
            for (lane, row) in rows.iter_mut().enumerate() {
                *row = load(self, blocks[lane], quarter).combine(load(self, blocks[lane + 4], quarter));
            }
            transpose_avx2(self, rows[0], rows[1], rows[2], rows[3])
        }
    }

    impl Vector for Avx512 {
        const HAS_TERNARY: bool = true;

        #[inline(always)]
        fn gather(self, blocks: &[&Block; 16], quarter: usize) -> [Self::u32s; 4] {
            let mut rows = [u32x16::splat(self, 0); 4];
            for (lane, row) in rows.iter_mut().enumerate() {
                let low = load(self, blocks[lane], quarter).combine(load(self, blocks[lane + 4], quarter));
                let high =
                    load(self, blocks[lane + 8], quarter).combine(load(self, blocks[lane + 12], quarter));
                *row = low.combine(high);
            }
            transpose_avx512(self, rows[0], rows[1], rows[2], rows[3])
        }
    }

    fearless_simd::kernel!(
        #[inline(always)]
        fn transpose_avx2(
            token: Avx2,
            a: u32x8<Avx2>,
            b: u32x8<Avx2>,
            c: u32x8<Avx2>,
            d: u32x8<Avx2>,
        ) -> [u32x8<Avx2>; 4] {
            let (a, b, c, d) = (a.into(), b.into(), c.into(), d.into());
            let (low_ab, low_cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
            let (high_ab, high_cd) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
            [
                _mm256_unpacklo_epi64(low_ab, low_cd).simd_into(token),
                _mm256_unpackhi_epi64(low_ab, low_cd).simd_into(token),
                _mm256_unpacklo_epi64(high_ab, high_cd).simd_into(token),
                _mm256_unpackhi_epi64(high_ab, high_cd).simd_into(token),
            ]
        }
    );

    fearless_simd::kernel!(
        #[inline(always)]
        fn transpose_avx512(
            token: Avx512,
            a: u32x16<Avx512>,
            b: u32x16<Avx512>,
            c: u32x16<Avx512>,
            d: u32x16<Avx512>,
        ) -> [u32x16<Avx512>; 4] {
            let (a, b, c, d) = (a.into(), b.into(), c.into(), d.into());
            let (low_ab, low_cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
            let (high_ab, high_cd) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
            [
                _mm512_unpacklo_epi64(low_ab, low_cd).simd_into(token),
                _mm512_unpackhi_epi64(low_ab, low_cd).simd_into(token),
                _mm512_unpacklo_epi64(high_ab, high_cd).simd_into(token),
                _mm512_unpackhi_epi64(high_ab, high_cd).simd_into(token),
            ]
        }
    );
}

/// Adds to each of `L` chains its blocks, of which each has the same number: in `N` vectors, whose blocks take turns.
pub(crate) fn run<V: Vector, const N: usize, const L: usize>(
    level: V,
    chains: &mut [Chain; L],
    blocks: &[&[Block]; L],
) {
    level.vectorize(
        #[inline(always)]
        || run_inlined::<V, N, L>(level, chains, blocks),
    );
}

// Loops instead of iterators with closures: a closure does not have its caller's instruction set, so each vector
// instruction in it would be a call.
#[inline(always)]
fn run_inlined<V: Vector, const N: usize, const L: usize>(
    level: V,
    chains: &mut [Chain; L],
    blocks: &[&[Block]; L],
) {
    const { assert!(L == N * <V::u32s as SimdBase<V>>::LEN) };
    let lanes = L / N;
    let constants = constants();
    let zero = Lanes::<V>(V::u32s::splat(level, 0));
    let mut states = [[zero; 4]; N];
    for (state, chains) in states.iter_mut().zip(chains.chunks_exact(lanes)) {
        for (lane, chain) in chains.iter().enumerate() {
            for (words, word) in state.iter_mut().zip(chain) {
                words.0[lane] = *word;
            }
        }
    }
    for number in 0..blocks[0].len() {
        let mut rows = [[&[0; 64]; 16]; N];
        for (row, blocks) in rows.iter_mut().zip(blocks.chunks_exact(lanes)) {
            for (block, blocks) in row.iter_mut().zip(blocks) {
                *block = &blocks[number];
            }
        }
        compress(
            &mut states,
            constants,
            [[zero; 16]; N],
            #[inline(always)]
            |quarter, words| {
                for (words, row) in words.iter_mut().zip(&rows) {
                    for (word, lanes) in level.gather(row, quarter).into_iter().enumerate() {
                        words[quarter * 4 + word] = Lanes(lanes);
                    }
                }
            },
        );
    }
    for (state, chains) in states.iter().zip(chains.chunks_exact_mut(lanes)) {
        for (lane, chain) in chains.iter_mut().enumerate() {
            for (words, word) in state.iter().zip(chain) {
                *word = words.0[lane];
            }
        }
    }
}

/// As [`run`], in the ordinary registers: `N` streams, whose blocks take turns.
pub(crate) fn run_scalar<const N: usize>(chains: &mut [Chain; N], blocks: &[&[Block]; N]) {
    let constants = constants();
    let mut states = *chains;
    for number in 0..blocks[0].len() {
        let mut rows = [&[0; 64]; N];
        for (block, blocks) in rows.iter_mut().zip(blocks) {
            *block = &blocks[number];
        }
        compress(
            &mut states,
            constants,
            [[0; 16]; N],
            #[inline(always)]
            |quarter, words| {
                for (words, row) in words.iter_mut().zip(rows) {
                    let (bytes, _) = row.as_chunks();
                    for word in quarter * 4..quarter * 4 + 4 {
                        words[word] = u32::from_le_bytes(bytes[word]);
                    }
                }
            },
        );
    }
    *chains = states;
}
