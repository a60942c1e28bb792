//! Streams of every length.

use md5::{Digest, Md5};
use md5_lanes::{Kernel, Md5State};

use crate::referee::{Noise, digests, referee};

/// RFC 1321, A.5.
const RFC: [(&str, &str); 7] = [
    ("", "d41d8cd98f00b204e9800998ecf8427e"),
    ("a", "0cc175b9c0f1b6a831c399e269772661"),
    ("abc", "900150983cd24fb0d6963f7d28e17f72"),
    ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
    ("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
    ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f"),
    (
        "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
        "57edf4a22be3c955ac49da2e2107b67a",
    ),
];

fn hex(digest: [u8; 16]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_examples_of_rfc_1321_have_the_digests_it_gives() {
    for (message, digest) in RFC {
        let mut state = Md5State::new();
        state.update(message.as_bytes());
        assert_eq!(hex(state.finish()), digest, "{message}");
    }
    let messages: Vec<&[u8]> = RFC.iter().cycle().take(100).map(|(message, _)| message.as_bytes()).collect();
    for kernel in Kernel::available() {
        for (digest, (message, wanted)) in digests(kernel, &messages).into_iter().zip(RFC.iter().cycle()) {
            assert_eq!(hex(digest), *wanted, "{kernel}: {message}");
        }
    }
}

#[test]
fn every_length_up_to_4096_side_by_side_in_every_kernel() {
    let noise = Noise(1).bytes(2 * 4096);
    // Each stream begins elsewhere, so that no two are alike.
    let streams: Vec<&[u8]> = (0..=4096).map(|length| &noise[4096 - length / 2..][..length]).collect();
    let wanted: Vec<[u8; 16]> = streams.iter().map(|stream| referee(stream)).collect();
    for kernel in Kernel::available() {
        for (length, (digest, wanted)) in digests(kernel, &streams).into_iter().zip(&wanted).enumerate() {
            assert_eq!(digest, *wanted, "{kernel}: {length} bytes");
        }
    }
}

#[test]
fn any_number_of_streams_of_the_same_length() {
    let noise = Noise(2).bytes(70 * 320);
    for kernel in Kernel::available() {
        for count in 0..=70 {
            let streams: Vec<&[u8]> = noise.chunks(320).take(count).collect();
            let wanted: Vec<[u8; 16]> = streams.iter().map(|stream| referee(stream)).collect();
            assert_eq!(digests(kernel, &streams), wanted, "{kernel}: {count} streams");
        }
    }
}

/// Around the powers of two: full blocks, blocks with and without room for the length, and their neighbours.
fn around_powers_of_two(largest: u32) {
    let end = (1usize << largest) + 65;
    let noise = Noise(3).bytes(end);
    let mut lengths: Vec<usize> = (0..=largest)
        .flat_map(|bits| {
            [-65, -64, -63, -9, -8, -1, 0, 1, 8, 55, 56, 57, 63, 64, 65].map(|more| (1i64 << bits) + more)
        })
        .filter_map(|length| usize::try_from(length).ok())
        .collect();
    lengths.sort_unstable();
    lengths.dedup();
    // One pass of the referee over the longest.
    let (mut read, mut at) = (Md5::new(), 0);
    let wanted: Vec<[u8; 16]> = lengths
        .iter()
        .map(|length| {
            read.update(&noise[at..*length]);
            at = *length;
            read.clone().finalize().into()
        })
        .collect();
    let streams: Vec<&[u8]> = lengths.iter().map(|length| &noise[..*length]).collect();
    for kernel in Kernel::available() {
        for ((digest, wanted), length) in digests(kernel, &streams).iter().zip(&wanted).zip(&lengths) {
            assert_eq!(digest, wanted, "{kernel}: {length} bytes");
        }
    }
}

#[test]
fn lengths_around_the_powers_of_two_up_to_1_mib() {
    around_powers_of_two(20);
}

#[test]
#[ignore = "takes minutes and 1 GiB of memory"]
fn lengths_around_the_powers_of_two_up_to_1_gib() {
    around_powers_of_two(30);
}
