//! An MD5 sum: 16 bytes, and in requests their hexadecimal form. Pure.

use std::fmt;
use std::str::FromStr;

use md5::{Digest, Md5};

/// An MD5 sum. It is written, and parsed, as 32 hexadecimal digits in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Md5Sum([u8; 16]);

/// A text that is no [`Md5Sum`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an MD5 sum: 32 digits, each 0 to 9 or a to f")]
pub struct NotMd5(String);

impl Md5Sum {
    /// The sum of what the hasher has read.
    pub(crate) fn of(hasher: Md5) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Md5Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl FromStr for Md5Sum {
    type Err = NotMd5;

    fn from_str(text: &str) -> Result<Self, NotMd5> {
        let sum = u128::from_str_radix(text, 16).map(|sum| Self(sum.to_be_bytes())).ok();
        // The parser of numbers also takes a sign, capitals and fewer digits.
        sum.filter(|sum| sum.to_string() == text).ok_or_else(|| NotMd5(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_32_digits_in_lower_case_and_nothing_else_is_one() {
        let zeros = "0cc175b9c0f1b6a831c399e269772661";
        assert_eq!(zeros.parse::<Md5Sum>().unwrap().to_string(), zeros);
        assert_eq!(Md5Sum::of(Md5::new_with_prefix("a")).to_string(), zeros);
        let capitals = zeros.to_uppercase();
        let signed = format!("+{}", &zeros[1..]);
        for text in ["", "0cc1", &zeros[1..], &format!("0{zeros}"), &capitals, &signed, &"g".repeat(32)] {
            assert!(text.parse::<Md5Sum>().is_err(), "{text}");
        }
    }
}
