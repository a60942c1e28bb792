//! Any schedule of pieces, found by a fuzzer and made smaller when it fails.

use md5_lanes::{Kernel, Md5State};
use proptest::prelude::*;

use crate::referee::{Noise, referee};

/// Which streams get a piece at once: the number of the stream, and the length of the piece.
type Call = Vec<(usize, usize)>;

fn judged(kernel: Kernel, offset: usize, calls: &[Call]) -> Result<(), TestCaseError> {
    const STREAMS: usize = 40;
    let noise = Noise(9).bytes(1 << 16);
    let mut states = vec![Md5State::new(); STREAMS];
    let mut streams = vec![Vec::new(); STREAMS];
    for call in calls {
        let mut lengths = [None; STREAMS];
        for (stream, length) in call {
            lengths[*stream] = Some(*length);
        }
        let mut pieces: Vec<(&mut Md5State, &[u8])> = Vec::new();
        for (number, ((state, stream), length)) in
            states.iter_mut().zip(&mut streams).zip(lengths).enumerate()
        {
            let Some(length) = length else { continue };
            let piece = &noise[offset + number * 37..][..length];
            stream.extend_from_slice(piece);
            pieces.push((state, piece));
        }
        kernel.update(&mut pieces);
    }
    for (number, (state, stream)) in states.into_iter().zip(&streams).enumerate() {
        prop_assert_eq!(state.length(), stream.len() as u64);
        prop_assert_eq!(state.finish(), referee(stream), "{}: stream {}", kernel, number);
    }
    Ok(())
}

fn fuzz(cases: u32) {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    });
    let kernels: Vec<Kernel> = Kernel::available().collect();
    let length = prop_oneof![0usize..200, (0usize..40).prop_map(|blocks| blocks * 64), 0usize..10_000];
    let call = proptest::collection::vec((0usize..40, length), 0..50);
    let input = (proptest::sample::select(kernels), 0usize..64, proptest::collection::vec(call, 0..6));
    runner.run(&input, |(kernel, offset, calls)| judged(kernel, offset, &calls)).unwrap();
}

#[test]
fn any_schedule_of_pieces() {
    fuzz(300);
}

#[test]
#[ignore = "takes minutes"]
fn a_great_many_schedules_of_pieces() {
    fuzz(30_000);
}
