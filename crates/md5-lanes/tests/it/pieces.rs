//! Streams that come in pieces, and the lanes they are hashed in.

use md5_lanes::{Kernel, Md5State};

use crate::referee::{Noise, digests, referee};

#[test]
fn the_best_kernel_is_the_last_of_those_this_processor_has() {
    let available: Vec<Kernel> = Kernel::available().collect();
    assert_eq!(available[..2], [Kernel::Scalar, Kernel::ScalarPair]);
    assert!(available.is_sorted_by_key(|kernel| kernel.lanes()));
    assert!(available.contains(&Kernel::best()) && Kernel::best() != Kernel::NeonX4);
    #[cfg(target_arch = "x86_64")]
    {
        assert!(available.contains(&Kernel::Sse2x8));
        assert_eq!(available.contains(&Kernel::Avx2x16), Kernel::Avx2x8.is_available());
    }
}

#[test]
fn a_kernel_that_the_processor_lacks_does_its_work_with_a_narrower_one() {
    let noise = Noise(4).bytes(40 * 1000);
    let streams: Vec<&[u8]> = noise.chunks(1000).collect();
    let wanted: Vec<[u8; 16]> = streams.iter().map(|stream| referee(stream)).collect();
    for kernel in Kernel::ALL {
        assert_eq!(digests(kernel, &streams), wanted, "{kernel}");
    }
}

#[test]
fn one_long_stream_among_short_ones_is_hashed_to_its_end() {
    let noise = Noise(5).bytes(1 << 20);
    for kernel in Kernel::available() {
        let mut streams: Vec<&[u8]> = noise.chunks(777).take(99).collect();
        streams.insert(50, &noise);
        let wanted: Vec<[u8; 16]> = streams.iter().map(|stream| referee(stream)).collect();
        assert_eq!(digests(kernel, &streams), wanted, "{kernel}");
    }
}

#[test]
fn empty_pieces_and_no_pieces_change_nothing() {
    for kernel in Kernel::available() {
        kernel.update(&mut []);
        let mut states = vec![Md5State::new(); 40];
        for _ in 0..3 {
            kernel.update(&mut states.iter_mut().map(|state| (state, &b""[..])).collect::<Vec<_>>());
        }
        assert!(states.into_iter().all(|state| state.length() == 0 && state.finish() == referee(b"")));
    }
}

#[test]
fn a_state_counts_its_bytes_and_may_be_finished_at_any_point() {
    let noise = Noise(6).bytes(300);
    let mut state = Md5State::default();
    for length in 0..noise.len() {
        assert_eq!(state.length(), length as u64);
        assert_eq!(state.clone().finish(), referee(&noise[..length]), "{length} bytes");
        state.update(&noise[length..=length]);
    }
}

/// Streams begin, get pieces of any length from any kernel, alone or with others, and end.
fn random_streams(kernels: &[Kernel], count: usize, seed: u64) {
    const AT_ONCE: usize = 80;
    let mut random = Noise(seed);
    let noise = random.bytes(1 << 17);
    let (mut begun, mut ended) = (0, 0);
    let mut open: Vec<(Md5State, &[u8], &[u8])> = Vec::new();
    while ended < count {
        while begun < count && open.len() < AT_ONCE && (open.is_empty() || random.below(20) > 0) {
            let length = random.length(1 << 14);
            let stream = &noise[random.below(noise.len() - length)..][..length];
            open.push((Md5State::new(), stream, stream));
            begun += 1;
        }
        let share = 1 + random.below(4);
        let mut pieces: Vec<(&mut Md5State, &[u8])> = Vec::new();
        for (state, rest, _) in &mut open {
            if random.below(4) < share {
                let (piece, after) = rest.split_at(random.length(1 << 13).min(rest.len()));
                *rest = after;
                pieces.push((state, piece));
            }
        }
        let kernel = kernels[random.below(kernels.len())];
        match &mut pieces[..] {
            [(state, piece)] if random.below(2) == 0 => state.update(piece),
            pieces => kernel.update(pieces),
        }
        open.retain(|(state, rest, stream)| {
            if rest.is_empty() {
                ended += 1;
                let (digest, length) = (state.clone().finish(), stream.len());
                assert_eq!(
                    digest,
                    referee(stream),
                    "{kernel}, seed {seed}: stream {ended} of {length} bytes"
                );
            }
            !rest.is_empty()
        });
    }
}

#[test]
fn thousands_of_random_streams_in_random_pieces() {
    let all: Vec<Kernel> = Kernel::available().collect();
    random_streams(&all, 10_000, 7);
    for (seed, kernel) in (8..).zip(&all) {
        random_streams(&[*kernel], 10_000 / all.len(), seed);
    }
}

#[test]
#[ignore = "takes minutes"]
fn a_million_random_streams_in_random_pieces() {
    let all: Vec<Kernel> = Kernel::available().collect();
    random_streams(&all, 500_000, 107);
    for (seed, kernel) in (108..).zip(&all) {
        random_streams(&[*kernel], 500_000_usize.div_ceil(all.len()), seed);
    }
}
