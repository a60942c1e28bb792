//! Which kernel, and how it is kept busy.

use std::fmt;

use fearless_simd::Level;

use crate::state::Md5State;
use crate::vectors::{Block, Chain, run, run_scalar};

/// How many streams are hashed side by side, and with which instructions.
///
/// A kernel is the widest that [`update`](Kernel::update) uses: fewer streams go to a narrower one.
///
/// ```
/// use md5_lanes::{Kernel, Md5State};
///
/// let mut states = [Md5State::new(), Md5State::new()];
/// let [one, other] = &mut states;
/// Kernel::best().update(&mut [(one, b"a"), (other, b"message digest")]);
/// let digests = states.map(Md5State::finish);
/// assert_eq!(digests[0][..4], [0x0c, 0xc1, 0x75, 0xb9]);
/// assert_eq!(digests[1][..4], [0xf9, 0x6b, 0x69, 0x7d]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// One stream, any processor.
    Scalar,
    /// Two streams in turn, any processor.
    ScalarPair,
    /// Four streams, any x86-64 processor.
    Sse2x4,
    /// Two times four streams in turn, any x86-64 processor.
    Sse2x8,
    /// Eight streams, x86-64-v3 processors: those with AVX2, but for a few.
    Avx2x8,
    /// Two times eight streams in turn, x86-64-v3 processors.
    Avx2x16,
    /// 16 streams, x86-64 with the AVX-512 of Ice Lake and Zen 4. Earlier ones lower the clock of the whole processor when
    /// they use it.
    Avx512x16,
    /// Two times 16 streams in turn, on the same processors.
    Avx512x32,
    /// Four streams, any 64-bit ARM processor. So far this one has run in an emulator only, so it is never the
    /// [`best`](Kernel::best).
    NeonX4,
}

impl Kernel {
    /// All kernels, the narrowest first.
    pub const ALL: [Self; 9] = [
        Self::Scalar,
        Self::ScalarPair,
        Self::NeonX4,
        Self::Sse2x4,
        Self::Sse2x8,
        Self::Avx2x8,
        Self::Avx2x16,
        Self::Avx512x16,
        Self::Avx512x32,
    ];

    /// The kernels for this processor, the narrowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|kernel| kernel.is_available())
    }

    /// The fastest kernel for this processor.
    #[must_use]
    pub fn best() -> Self {
        Self::available().filter(|kernel| *kernel != Self::NeonX4).last().unwrap_or(Self::Scalar)
    }

    /// Whether this processor has the instructions.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar | Self::ScalarPair => true,
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Self::Sse2x4 | Self::Sse2x8 => Level::new().as_sse2().is_some(),
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Self::Avx2x8 | Self::Avx2x16 => Level::new().as_avx2().is_some(),
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Self::Avx512x16 | Self::Avx512x32 => Level::new().as_avx512().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::NeonX4 => Level::new().as_neon().is_some(),
            _ => false,
        }
    }

    /// How many streams are hashed side by side.
    #[must_use]
    pub const fn lanes(self) -> usize {
        match self {
            Self::Scalar => 1,
            Self::ScalarPair => 2,
            Self::Sse2x4 | Self::NeonX4 => 4,
            Self::Sse2x8 | Self::Avx2x8 => 8,
            Self::Avx2x16 | Self::Avx512x16 => 16,
            Self::Avx512x32 => 32,
        }
    }

    /// The name, as in "AVX2, 8 lanes".
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "one stream",
            Self::ScalarPair => "two streams in turn",
            Self::Sse2x4 => "SSE2, 4 lanes",
            Self::Sse2x8 => "SSE2, 8 lanes",
            Self::Avx2x8 => "AVX2, 8 lanes",
            Self::Avx2x16 => "AVX2, 16 lanes",
            Self::Avx512x16 => "AVX-512, 16 lanes",
            Self::Avx512x32 => "AVX-512, 32 lanes",
            Self::NeonX4 => "NEON, 4 lanes",
        }
    }

    /// Adds to each state its piece, and leaves an empty piece behind. Pieces may have any length and come in any number. A
    /// state may get its pieces from different kernels.
    ///
    /// The longest pieces begin; when one ends, its lane takes the next. When none is left, narrower kernels hash the
    /// rest: the last stream is hashed alone, and the last two hardly disturb each other. The time is therefore about the
    /// longer of two: that of all bytes at the speed of all lanes, and that of the longest piece at the speed of one
    /// stream. Divide a piece that is much longer than the others, and pass its parts in several calls with pieces of
    /// other streams.
    ///
    /// What is fastest: pieces of the same length, a multiple of 64 bytes and at least 4 KiB; all pieces of a call together in
    /// the cache of the core (16 KiB a lane); and pieces that begin at different offsets in their pages, such as 64 bytes
    /// apart. Bytes at the same offset compete for the same places in the nearest cache, which halves the speed of 32 lanes.
    ///
    /// The order of the pieces changes. If this processor lacks the kernel, the next narrower one does the work.
    pub fn update(self, pieces: &mut [(&mut Md5State, &[u8])]) {
        let kernel = self.or_narrower();
        for (state, piece) in pieces.iter_mut() {
            state.fill_pending(piece);
        }
        kernel.compress(pieces.iter_mut().filter_map(|(state, _)| {
            state
                .take_full()
                .then_some(Lane { chain: &mut state.chain, blocks: std::slice::from_ref(&state.pending) })
        }));
        pieces.sort_unstable_by_key(|(_, piece)| std::cmp::Reverse(piece.len()));
        kernel.compress(pieces.iter_mut().filter_map(|(state, piece)| {
            let (blocks, rest) = piece.as_chunks();
            *piece = rest;
            (!blocks.is_empty()).then_some(Lane { chain: &mut state.chain, blocks })
        }));
        for (state, piece) in pieces {
            state.append(piece);
        }
    }

    /// Keeps the lanes filled until all blocks of all streams are added. No stream is without blocks.
    fn compress<'a>(self, mut waiting: impl Iterator<Item = Lane<'a>>) {
        let mut lanes: Vec<Lane> = Vec::with_capacity(self.lanes());
        loop {
            lanes.extend(waiting.by_ref().take(self.lanes() - lanes.len()));
            let Some(count) = lanes.iter().map(|lane| lane.blocks.len()).min() else { return };
            self.narrowest_for(lanes.len()).run(&mut lanes, count);
            lanes.retain(|lane| !lane.blocks.is_empty());
        }
    }

    /// This kernel, or the widest narrower one that this processor has.
    fn or_narrower(self) -> Self {
        self.narrower().iter().copied().rfind(|kernel| kernel.is_available()).unwrap_or(Self::Scalar)
    }

    /// The kernel that takes the least time for a block of each of this number of streams. A block takes a wide kernel hardly longer
    /// than a narrow one, even if most of its lanes are idle: so it is the narrowest with enough lanes.
    fn narrowest_for(self, streams: usize) -> Self {
        self.narrower().iter().copied().find(|kernel| kernel.lanes() >= streams).unwrap_or(self)
    }

    /// The kernels that are used for fewer streams than this one has lanes, and this one.
    const fn narrower(self) -> &'static [Self] {
        match self {
            Self::Scalar => &[Self::Scalar],
            Self::ScalarPair => &[Self::Scalar, Self::ScalarPair],
            Self::NeonX4 => &[Self::Scalar, Self::ScalarPair, Self::NeonX4],
            Self::Sse2x4 => &[Self::Scalar, Self::ScalarPair, Self::Sse2x4],
            Self::Sse2x8 => &[Self::Scalar, Self::ScalarPair, Self::Sse2x4, Self::Sse2x8],
            Self::Avx2x8 => &[Self::Scalar, Self::ScalarPair, Self::Avx2x8],
            Self::Avx2x16 => &[Self::Scalar, Self::ScalarPair, Self::Avx2x8, Self::Avx2x16],
            Self::Avx512x16 => &[Self::Scalar, Self::ScalarPair, Self::Avx2x8, Self::Avx512x16],
            Self::Avx512x32 => {
                &[Self::Scalar, Self::ScalarPair, Self::Avx2x8, Self::Avx512x16, Self::Avx512x32]
            }
        }
    }

    /// Adds to each lane its next `count` blocks.
    fn run(self, lanes: &mut [Lane], count: usize) {
        let level = Level::new();
        match self {
            Self::Scalar => in_lanes(lanes, count, run_scalar::<1>),
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Self::Sse2x4 if let Some(sse2) = level.as_sse2() => {
                in_lanes(lanes, count, |chains, blocks| run::<_, 1, 4>(sse2, chains, blocks));
            }
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Self::Sse2x8 if let Some(sse2) = level.as_sse2() => {
                in_lanes(lanes, count, |chains, blocks| run::<_, 2, 8>(sse2, chains, blocks));
            }
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Self::Avx2x8 if let Some(avx2) = level.as_avx2() => {
                in_lanes(lanes, count, |chains, blocks| run::<_, 1, 8>(avx2, chains, blocks));
            }
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Self::Avx2x16 if let Some(avx2) = level.as_avx2() => {
                in_lanes(lanes, count, |chains, blocks| run::<_, 2, 16>(avx2, chains, blocks));
            }
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Self::Avx512x16 if let Some(avx512) = level.as_avx512() => {
                in_lanes(lanes, count, |chains, blocks| run::<_, 1, 16>(avx512, chains, blocks));
            }
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Self::Avx512x32 if let Some(avx512) = level.as_avx512() => {
                in_lanes(lanes, count, |chains, blocks| run::<_, 2, 32>(avx512, chains, blocks));
            }
            #[cfg(target_arch = "aarch64")]
            Self::NeonX4 if let Some(neon) = level.as_neon() => {
                in_lanes(lanes, count, |chains, blocks| run::<_, 1, 4>(neon, chains, blocks));
            }
            _ => in_lanes(lanes, count, run_scalar::<2>),
        }
    }
}

/// Runs a kernel of `L` lanes over the next `count` blocks of each lane. Idle lanes of the kernel repeat the first stream, whose
/// blocks are at hand.
fn in_lanes<const L: usize>(
    lanes: &mut [Lane],
    count: usize,
    kernel: impl Fn(&mut [Chain; L], &[&[Block]; L]),
) {
    for lanes in lanes.chunks_mut(L) {
        let mut chains = [[0; 4]; L];
        let mut blocks: [&[Block]; L] = [&lanes[0].blocks[..count]; L];
        for ((chain, blocks), lane) in chains.iter_mut().zip(&mut blocks).zip(&mut *lanes) {
            *chain = *lane.chain;
            (*blocks, lane.blocks) = lane.blocks.split_at(count);
        }
        kernel(&mut chains, &blocks);
        for (chain, lane) in chains.iter().zip(lanes) {
            *lane.chain = *chain;
        }
    }
}

/// A stream whose blocks are being added.
struct Lane<'a> {
    chain: &'a mut Chain,
    blocks: &'a [Block],
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
