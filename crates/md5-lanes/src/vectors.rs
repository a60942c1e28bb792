//! Streams in the lanes of vectors: how their blocks get in, and the loop over their blocks.

#[cfg(target_arch = "aarch64")]
use fearless_simd::aarch64::Neon;
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
use fearless_simd::x86::{Avx2, Avx512, Sse2};
use fearless_simd::{prelude::*, u8x16, u32x4};

use crate::rounds::{CONSTANTS, Word, compress};

/// A block of a message.
pub(crate) type Block = [u8; 64];

/// The four words that a stream carries from block to block.
pub(crate) type Chain = [u32; 4];

/// A kind of vector: its level, and what is best done in another way at each.
pub(crate) trait Vector: Simd {
    /// Whether one instruction does any function of three words.
    const HAS_TERNARY: bool = false;

    /// Whether the constants of the steps are read from memory. The compiler moves constants that it knows to the end of a
    /// sum, where they make the longest chain longer; where registers are scarce, they are cheap and the loads are not.
    const LOADS_CONSTANTS: bool = true;

    /// Word `n` of the block of each lane, for all 16 words.
    fn gather(self, blocks: &[&Block; 16]) -> [Lanes<Self>; 16];
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

/// Vectors of four words: a transpose of 4 by 4 words for each quarter of the blocks.
macro_rules! four_lanes {
    ($level:ident) => {
        impl Vector for $level {
            #[inline(always)]
            fn gather(self, blocks: &[&Block; 16]) -> [Lanes<Self>; 16] {
                let mut words = [Lanes(u32x4::splat(self, 0)); 16];
                for (quarter, words) in words.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    let (a, b) = (load(self, blocks[0], quarter), load(self, blocks[1], quarter));
                    let (c, d) = (load(self, blocks[2], quarter), load(self, blocks[3], quarter));
                    let (ac, bd) = (a.interleave(c), b.interleave(d));
                    (words[0].0, words[1].0) = ac.0.interleave(bd.0);
                    (words[2].0, words[3].0) = ac.1.interleave(bd.1);
                }
                words
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
        const LOADS_CONSTANTS: bool = false;

        #[inline(always)]
        fn gather(self, blocks: &[&Block; 16]) -> [Lanes<Self>; 16] {
            let mut words = [Lanes(u32x8::splat(self, 0)); 16];
            for (quarter, words) in words.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let mut rows = [u32x8::splat(self, 0); 4];
                for (lane, row) in rows.iter_mut().enumerate() {
                    *row = load(self, blocks[lane], quarter).combine(load(self, blocks[lane + 4], quarter));
                }
                [words[0].0, words[1].0, words[2].0, words[3].0] =
                    transpose_avx2(self, rows[0], rows[1], rows[2], rows[3]);
            }
            words
        }
    }

    impl Vector for Avx512 {
        const HAS_TERNARY: bool = true;

        #[inline(always)]
        fn gather(self, blocks: &[&Block; 16]) -> [Lanes<Self>; 16] {
            let mut words = [Lanes(u32x16::splat(self, 0)); 16];
            for (quarter, words) in words.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let mut rows = [u32x16::splat(self, 0); 4];
                for (lane, row) in rows.iter_mut().enumerate() {
                    let low =
                        load(self, blocks[lane], quarter).combine(load(self, blocks[lane + 4], quarter));
                    let high =
                        load(self, blocks[lane + 8], quarter).combine(load(self, blocks[lane + 12], quarter));
                    *row = low.combine(high);
                }
                [words[0].0, words[1].0, words[2].0, words[3].0] =
                    transpose_avx512(self, rows[0], rows[1], rows[2], rows[3]);
            }
            words
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
    let constants = if V::LOADS_CONSTANTS { std::hint::black_box(&CONSTANTS) } else { &CONSTANTS };
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
        let mut words = [[zero; 16]; N];
        for (words, blocks) in words.iter_mut().zip(blocks.chunks_exact(lanes)) {
            let mut row = [&[0; 64]; 16];
            for (block, blocks) in row.iter_mut().zip(blocks) {
                *block = &blocks[number];
            }
            *words = level.gather(&row);
        }
        compress(&mut states, &words, constants);
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
    let constants = std::hint::black_box(&CONSTANTS);
    let mut states = *chains;
    for number in 0..blocks[0].len() {
        let mut words = [[0; 16]; N];
        for (words, blocks) in words.iter_mut().zip(blocks) {
            for (word, bytes) in words.iter_mut().zip(blocks[number].as_chunks().0) {
                *word = u32::from_le_bytes(*bytes);
            }
        }
        compress(&mut states, &words, constants);
    }
    *chains = states;
}
