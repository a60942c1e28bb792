//! An MD5 sum: 16 bytes, and in requests their hexadecimal form. Pure.

use std::fmt;

use md5::{Digest, Md5};

/// An MD5 sum, written as 32 hexadecimal digits in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Md5Sum([u8; 16]);

impl Md5Sum {
    /// The sum of what the hasher has read.
    pub(crate) fn of(hasher: Md5) -> Self {
        Self(hasher.finalize().into())
    }

    /// Parses 32 hexadecimal digits in lower case; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let sum = Self(u128::from_str_radix(text, 16).ok()?.to_be_bytes());
        // The parser of numbers also takes a sign, capitals and fewer digits.
        (sum.to_string() == text).then_some(sum)
    }
}

impl From<[u8; 16]> for Md5Sum {
    fn from(digest: [u8; 16]) -> Self {
        Self(digest)
    }
}

impl fmt::Display for Md5Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_32_digits_in_lower_case_and_nothing_else_is_one() {
        let sum = "0cc175b9c0f1b6a831c399e269772661";
        assert_eq!(Md5Sum::parse(sum).unwrap().to_string(), sum);
        assert_eq!(Md5Sum::of(Md5::new_with_prefix("a")).to_string(), sum);
        let capitals = sum.to_uppercase();
        let signed = format!("+{}", &sum[1..]);
        for text in ["", "0cc1", &sum[1..], &format!("0{sum}"), &capitals, &signed, &"g".repeat(32)] {
            assert_eq!(Md5Sum::parse(text), None, "{text}");
        }
    }
}
