//! Compressed bodies: gzip, deflate and zstd, never larger than allowed once unpacked.
//!
//! Invariants:
//! - memory is bounded by the limits whatever the body claims: output is counted as it is made;
//! - a stream that ends early is an error, never a shorter body.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Output is made in pieces of this size.
const PIECE_BYTES: usize = 64 * 1024;
/// The ratio is judged only beyond this output.
const RATIO_FROM_BYTES: usize = 1024 * 1024;
/// Largest zstd window (2^27 = 128 MiB would be the format's usual limit; 2^26 is that of the largest output).
const ZSTD_WINDOW_LOG_MAX: u32 = 26;

/// How far a body may be unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompressionLimits {
    /// Bytes once unpacked (default 64 MiB).
    pub decompressed_bytes_max: usize,
    /// Unpacked bytes for each packed one, judged beyond 1 MiB (default 1,000).
    pub ratio_max: usize,
}

impl Default for CompressionLimits {
    fn default() -> Self {
        CompressionLimits { decompressed_bytes_max: 64 * 1024 * 1024, ratio_max: 1_000 }
    }
}

/// Why a body was not unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompressionError {
    /// Not one of gzip, deflate, zstd, identity; or several at once.
    #[error("content encoding `{encoding}` is not supported: use gzip, deflate, zstd or identity")]
    Unsupported {
        /// As the request names it.
        encoding: String,
    },
    /// Larger than allowed.
    #[error("body is larger than {bytes_max} bytes once unpacked")]
    TooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// Unpacks to suspiciously much.
    #[error("body unpacks to more than {ratio_max} times its size")]
    Bomb {
        /// The limit.
        ratio_max: usize,
    },
    /// The end is missing.
    #[error("{encoding} body ends early")]
    Truncated {
        /// Its encoding.
        encoding: &'static str,
    },
    /// Not what its encoding says.
    #[error("body is not valid {encoding}")]
    Corrupt {
        /// Its encoding.
        encoding: &'static str,
        /// The decoder's answer.
        source: io::Error,
    },
}

/// Unpacks a body by its `Content-Encoding`; without one it is returned as it is. Uses the CPU for long bodies: off the async threads.
///
/// # Errors
/// [`CompressionError`]; nothing of the body is to be used then.
pub fn decompress(
    encoding: Option<&str>,
    body: Bytes,
    limits: &CompressionLimits,
) -> Result<Bytes, CompressionError> {
    let named = encoding.unwrap_or_default().trim();
    let packed: &[u8] = &body;
    match named.to_ascii_lowercase().as_str() {
        "" | "identity" if body.len() > limits.decompressed_bytes_max => {
            Err(CompressionError::TooLarge { bytes_max: limits.decompressed_bytes_max })
        }
        "" | "identity" => Ok(body),
        "gzip" | "x-gzip" => unpack("gzip", MultiGzDecoder::new(packed), packed, limits),
        "deflate" if is_zlib(packed) => unpack("deflate", ZlibDecoder::new(packed), packed, limits),
        "deflate" => unpack("deflate", DeflateDecoder::new(packed), packed, limits),
        "zstd" => {
            let corrupt = |source| CompressionError::Corrupt { encoding: "zstd", source };
            let mut decoder = zstd::Decoder::with_buffer(packed).map_err(corrupt)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(corrupt)?;
            unpack("zstd", decoder, packed, limits)
        }
        _ => Err(CompressionError::Unsupported { encoding: named.chars().take(80).collect() }),
    }
}

/// RFC 9110 means zlib by deflate; some clients send it bare.
fn is_zlib(packed: &[u8]) -> bool {
    matches!(packed, [method, flags, ..] if method & 15 == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31))
}

fn unpack(
    encoding: &'static str,
    mut decoder: impl Read,
    packed: &[u8],
    limits: &CompressionLimits,
) -> Result<Bytes, CompressionError> {
    let (bytes_max, ratio_max) = (limits.decompressed_bytes_max, limits.ratio_max);
    let allowed_by_ratio = packed.len().saturating_mul(ratio_max).max(RATIO_FROM_BYTES);
    let mut unpacked = Vec::with_capacity(packed.len().saturating_mul(4).min(bytes_max));
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let len = match decoder.read(&mut piece) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(CompressionError::Truncated { encoding });
            }
            Err(source) => return Err(CompressionError::Corrupt { encoding, source }),
        };
        if unpacked.len() + len > bytes_max {
            return Err(CompressionError::TooLarge { bytes_max });
        }
        if unpacked.len() + len > allowed_by_ratio {
            return Err(CompressionError::Bomb { ratio_max });
        }
        unpacked.extend_from_slice(&piece[..len]);
    }
    Ok(unpacked.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use heimdall_testkit::mutants::{Seeds, fuzz};

    use super::*;

    fn packed(encoding: &str, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let level = Compression::default();
        match encoding {
            "gzip" => GzEncoder::new(&mut out, level).write_all(body),
            "zlib" => ZlibEncoder::new(&mut out, level).write_all(body),
            "bare" => DeflateEncoder::new(&mut out, level).write_all(body),
            _ => zstd::stream::copy_encode(body, &mut out, 1),
        }
        .expect("memory");
        out
    }

    fn text() -> Vec<u8> {
        (0..5_000)
            .flat_map(|n: u32| format!("line {}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
            .collect()
    }

    fn unpacked(encoding: &str, body: Vec<u8>) -> Result<Bytes, CompressionError> {
        let limits = CompressionLimits { decompressed_bytes_max: 4 << 20, ratio_max: 100 };
        decompress(Some(encoding), body.into(), &limits)
    }

    #[test]
    fn every_encoding_round_trips_and_a_truncated_stream_is_named() {
        for (name, method) in [("gzip", "gzip"), ("deflate", "zlib"), ("deflate", "bare"), ("zstd", "zstd")] {
            let whole = packed(method, &text());
            assert_eq!(unpacked(name, whole.clone()).expect(method), text());
            for cut in [whole.len() - 1, whole.len() / 2, 1] {
                let found = unpacked(name, whole[..cut].to_vec());
                assert!(matches!(found, Err(CompressionError::Truncated { .. })), "{method} {cut} {found:?}");
            }
        }
    }

    #[test]
    fn two_gzip_members_are_one_body() {
        let mut both = packed("gzip", b"a\n");
        both.extend(packed("gzip", b"b\n"));
        assert_eq!(unpacked("gzip", both).expect("gzip"), "a\nb\n");
    }

    #[test]
    fn bombs_and_strangers_are_refused() {
        for method in ["gzip", "zstd"] {
            let large = unpacked(method, packed(method, &vec![b'x'; 3 << 20]));
            assert!(matches!(large, Err(CompressionError::Bomb { ratio_max: 100 })), "{method}");
        }
        let large = unpacked("gzip", packed("gzip", &text().repeat(80)));
        assert!(matches!(large, Err(CompressionError::TooLarge { .. })));
        assert!(matches!(unpacked("gzip", b"plain text".to_vec()), Err(CompressionError::Corrupt { .. })));
        assert!(matches!(unpacked("zstd", b"plain text".to_vec()), Err(CompressionError::Corrupt { .. })));
        for name in ["br", "gzip, gzip", "gzip,zstd"] {
            assert!(matches!(unpacked(name, vec![]), Err(CompressionError::Unsupported { .. })), "{name}");
        }
        assert_eq!(unpacked("identity", b"as is".to_vec()).expect("identity"), "as is");
    }

    #[test]
    fn mutants_of_packed_bodies_stay_within_the_limits() {
        let limits = CompressionLimits { decompressed_bytes_max: 2 << 20, ratio_max: 100 };
        let body = text();
        let body = &body[..2_000];
        let seeds = Seeds::bytes(["gzip", "zlib", "bare", "zstd"].map(|method| packed(method, body)));
        fuzz(&seeds, |mutant, _| {
            for encoding in ["gzip", "deflate", "zstd"] {
                if let Ok(unpacked) = decompress(Some(encoding), mutant.to_vec().into(), &limits) {
                    assert!(unpacked.len() <= limits.decompressed_bytes_max);
                }
            }
        });
    }
}
