//! The 64 steps of MD5 (RFC 1321), for one word or for a vector of words, with several blocks in turn.

/// What the steps need of a word: a `u32`, or a vector that holds one `u32` of each stream.
///
/// Methods instead of operators, because a method that is inlined always keeps its caller's instruction set.
pub(crate) trait Word: Copy {
    fn plus(self, other: Self) -> Self;
    fn plus_constant(self, constant: u32) -> Self;
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn not(self) -> Self;
    fn rotate(self, bits: u32) -> Self;

    /// `self + G(b, c, d)`, where `G` takes the bits of `b` where `d` has ones, and those of `c` elsewhere.
    ///
    /// The two parts have no bit in common, so their sum is the same as their union. As a sum, only the last of two additions
    /// waits for `b`, the word of the step before.
    #[inline(always)]
    fn plus_g(self, b: Self, c: Self, d: Self) -> Self {
        self.plus(d.not().and(c)).plus(b.and(d))
    }
}

impl Word for u32 {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
    #[inline(always)]
    fn plus_constant(self, constant: u32) -> Self {
        self.wrapping_add(constant)
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self & other
    }
    #[inline(always)]
    fn or(self, other: Self) -> Self {
        self | other
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self ^ other
    }
    #[inline(always)]
    fn not(self) -> Self {
        !self
    }
    #[inline(always)]
    fn rotate(self, bits: u32) -> Self {
        self.rotate_left(bits)
    }
}

#[inline(always)]
fn f<W: Word>(sum: W, b: W, c: W, d: W) -> W {
    sum.plus(c.xor(d).and(b).xor(d))
}

#[inline(always)]
fn g<W: Word>(sum: W, b: W, c: W, d: W) -> W {
    sum.plus_g(b, c, d)
}

#[inline(always)]
fn h<W: Word>(sum: W, b: W, c: W, d: W) -> W {
    sum.plus(c.xor(d).xor(b))
}

#[inline(always)]
fn i<W: Word>(sum: W, b: W, c: W, d: W) -> W {
    sum.plus(d.not().or(b).xor(c))
}

/// Adds one block to each of `N` states. The blocks take turns step by step: the processor works on one while a step of
/// another waits for the step before.
///
/// `gather(quarter, words)` fetches four words of each block. It is called right before their first use, so that the
/// processor can fetch the next four while the steps with these wait for each other.
#[inline(always)]
pub(crate) fn compress<W: Word, const N: usize>(
    states: &mut [[W; 4]; N],
    constants: &[u32; 64],
    mut words: [[W; 16]; N],
    gather: impl Fn(usize, &mut [[W; 16]; N]),
) {
    let before = *states;
    macro_rules! step {
        ($f:ident, $a:literal $b:literal $c:literal $d:literal, $bits:literal, $word:literal $step:literal) => {
            for (state, words) in states.iter_mut().zip(&words) {
                // The constant is added to the word of the message, which waits for nothing.
                let sum = state[$a].plus(words[$word].plus_constant(constants[$step]));
                state[$a] = $f(sum, state[$b], state[$c], state[$d]).rotate($bits).plus(state[$b]);
            }
        };
    }
    // The function, how far the four words rotate, and for each four steps: word of the message, number of the step.
    macro_rules! round {
        ($f:ident, $r0:literal $r1:literal $r2:literal $r3:literal,
            $($(gather $quarter:literal,)? $w0:literal $s0:literal, $w1:literal $s1:literal, $w2:literal $s2:literal, $w3:literal $s3:literal;)*) => {
            $(
                $(gather($quarter, &mut words);)?
                step!($f, 0 1 2 3, $r0, $w0 $s0);
                step!($f, 3 0 1 2, $r1, $w1 $s1);
                step!($f, 2 3 0 1, $r2, $w2 $s2);
                step!($f, 1 2 3 0, $r3, $w3 $s3);
            )*
        };
    }
    round! { f, 7 12 17 22,
        gather 0, 0 0, 1 1, 2 2, 3 3;
        gather 1, 4 4, 5 5, 6 6, 7 7;
        gather 2, 8 8, 9 9, 10 10, 11 11;
        gather 3, 12 12, 13 13, 14 14, 15 15;
    }
    round! { g, 5 9 14 20,
        1 16, 6 17, 11 18, 0 19;
        5 20, 10 21, 15 22, 4 23;
        9 24, 14 25, 3 26, 8 27;
        13 28, 2 29, 7 30, 12 31;
    }
    round! { h, 4 11 16 23,
        5 32, 8 33, 11 34, 14 35;
        1 36, 4 37, 7 38, 10 39;
        13 40, 0 41, 3 42, 6 43;
        9 44, 12 45, 15 46, 2 47;
    }
    round! { i, 6 10 15 21,
        0 48, 7 49, 14 50, 5 51;
        12 52, 3 53, 10 54, 1 55;
        8 56, 15 57, 6 58, 13 59;
        4 60, 11 61, 2 62, 9 63;
    }
    for (state, before) in states.iter_mut().zip(&before) {
        for (word, before) in state.iter_mut().zip(before) {
            *word = word.plus(*before);
        }
    }
}

/// What each step adds, as something that the compiler does not know. It moves constants that it knows to the end of a sum,
/// where the next step waits for them: a single stream is then a fifth slower.
#[inline(always)]
pub(crate) fn constants() -> &'static [u32; 64] {
    std::hint::black_box(&CONSTANTS)
}

/// The first 32 bits of the fraction of `|sin(step + 1)|`, where the first step is 0.
static CONSTANTS: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];
