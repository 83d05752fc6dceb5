//! Inflating the records of a compressed batch, within a bound; and compressing them, where a topic asks for that.
//!
//! The output grows as bytes come out and stops at the bound; what a stream declares about its size is never trusted
//! with a buffer. What a producer compressed is kept as it is, unless its topic names another codec.

use super::BatchError;
use super::header::CODEC_MASK;
use std::io::{self, Read, Write};

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    /// The codec that the attributes name.
    pub(super) fn of(attributes: i16) -> Result<Codec, BatchError> {
        match attributes & CODEC_MASK {
            0 => Ok(Codec::None),
            1 => Ok(Codec::Gzip),
            2 => Ok(Codec::Snappy),
            3 => Ok(Codec::Lz4),
            4 => Ok(Codec::Zstd),
            other => Err(BatchError::Unsupported(format!(
                "compression codec {other} is unknown; there are none 0, gzip 1, snappy 2, lz4 3 and zstd 4"
            ))),
        }
    }

    /// What a value of the setting `compression.type` asks for: `Some(None)` for batches as they come; `None` for a value
    /// that there is not.
    pub fn of_setting(value: &str) -> Option<Option<Codec>> {
        Some(match value {
            "producer" => None,
            "uncompressed" => Some(Codec::None),
            "gzip" => Some(Codec::Gzip),
            "snappy" => Some(Codec::Snappy),
            "lz4" => Some(Codec::Lz4),
            "zstd" => Some(Codec::Zstd),
            _ => return None,
        })
    }

    /// The bits of the attributes that name it.
    pub(super) fn bits(self) -> i16 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

/// Starts the framing of snappy-java, which Kafka's Java client writes; other clients send one raw snappy block.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// The magic, a version and the lowest version that can read it.
const XERIAL_HEADER_LEN: usize = 16;
/// A snappy element of three bytes copies 64 at most, so a block that declares more than this per byte lies.
const SNAPPY_RATIO_MAX: usize = 22;
/// Window that a zstd frame may ask for: 128 MiB, which the highest levels declare whatever the size. The memory is
/// touched only as far as bytes come out.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Inflates `input`, which is one whole stream of the codec, to at most `bytes_max` bytes.
///
/// # Errors
/// The stream is damaged, has bytes behind its end, or inflates to more.
pub(super) fn inflate(codec: Codec, input: &[u8], bytes_max: usize) -> Result<Vec<u8>, BatchError> {
    let inflated = match codec {
        Codec::None => Ok(input.to_vec()),
        Codec::Gzip => read_bounded(flate2::bufread::MultiGzDecoder::new(input), bytes_max),
        Codec::Snappy => inflate_snappy(input, bytes_max),
        Codec::Lz4 => inflate_lz4(input, bytes_max),
        Codec::Zstd => inflate_zstd(input, bytes_max),
    };
    let inflated = inflated
        .map_err(|error| BatchError::Corrupt(format!("the records cannot be inflated as {}: {error}", codec.name())))?;
    if inflated.len() > bytes_max {
        // How much more there would be is not asked for: that is the point of the bound.
        let size = inflated.len() as u64;
        return Err(BatchError::TooLarge { what: "a record batch inflated", size, limit: bytes_max as u64 });
    }
    Ok(inflated)
}

/// Bytes that one block of framed snappy holds, as Kafka's Java client writes them.
const XERIAL_BLOCK_LEN: usize = 32 << 10;

/// Compresses `input` with the codec's usual level, in the form that all of Kafka's clients read.
pub(super) fn compress(codec: Codec, input: &[u8]) -> Vec<u8> {
    let written = match codec {
        Codec::None => Ok(input.to_vec()),
        Codec::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(input).and_then(|()| encoder.finish())
        }
        Codec::Snappy => compress_snappy(input),
        Codec::Lz4 => {
            // Java's reader takes independent blocks only.
            let frame = lz4_flex::frame::FrameInfo::new().block_mode(lz4_flex::frame::BlockMode::Independent);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
            encoder.write_all(input).and_then(|()| encoder.finish().map_err(io::Error::other))
        }
        Codec::Zstd => zstd::bulk::compress(input, zstd::DEFAULT_COMPRESSION_LEVEL),
    };
    written.expect("memory takes all that is written")
}

fn compress_snappy(input: &[u8]) -> io::Result<Vec<u8>> {
    let mut framed = XERIAL_MAGIC.to_vec();
    // The version, and the lowest one that can read it.
    framed.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    let mut encoder = snap::raw::Encoder::new();
    for block in input.chunks(XERIAL_BLOCK_LEN) {
        let compressed = encoder.compress_vec(block)?;
        framed.extend_from_slice(&(compressed.len() as u32).to_be_bytes());
        framed.extend_from_slice(&compressed);
    }
    Ok(framed)
}

/// Reads to the end or to one byte more than `bytes_max`, by which the caller sees that the bound was met.
fn read_bounded(reader: impl Read, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut inflated = Vec::new();
    reader.take(bytes_max as u64 + 1).read_to_end(&mut inflated)?;
    Ok(inflated)
}

fn inflate_lz4(input: &[u8], bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut rest = input;
    let inflated = read_bounded(lz4_flex::frame::FrameDecoder::new(&mut rest), bytes_max)?;
    all_was_read(inflated, rest, bytes_max)
}

fn inflate_zstd(input: &[u8], bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    read_bounded(decoder, bytes_max)
}

/// Refuses bytes behind the stream, unless reading stopped at the bound.
fn all_was_read(inflated: Vec<u8>, rest: &[u8], bytes_max: usize) -> io::Result<Vec<u8>> {
    if rest.is_empty() || inflated.len() > bytes_max {
        return Ok(inflated);
    }
    Err(damaged(format!("{} bytes stand behind its end", rest.len())))
}

fn inflate_snappy(input: &[u8], bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut inflated = Vec::new();
    if !input.starts_with(&XERIAL_MAGIC) {
        append_snappy_block(&mut inflated, input, bytes_max)?;
        return Ok(inflated);
    }
    let mut rest = input.get(XERIAL_HEADER_LEN..).ok_or_else(|| damaged("its framing header is cut off".to_owned()))?;
    while !rest.is_empty() && inflated.len() <= bytes_max {
        let (length, behind) =
            rest.split_first_chunk::<4>().ok_or_else(|| damaged("a block's length is cut off".to_owned()))?;
        let length = u32::from_be_bytes(*length) as usize;
        let block = behind
            .get(..length)
            .ok_or_else(|| damaged(format!("a block of {length} bytes has only {}", behind.len())))?;
        append_snappy_block(&mut inflated, block, bytes_max)?;
        rest = &behind[length..];
    }
    Ok(inflated)
}

/// Inflates one raw block behind what is there, or makes `inflated` larger than `bytes_max` when it would be.
fn append_snappy_block(inflated: &mut Vec<u8>, block: &[u8], bytes_max: usize) -> io::Result<()> {
    let declared = snap::raw::decompress_len(block)?;
    if declared > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(damaged(format!("a block of {} bytes says that it inflates to {declared}", block.len())));
    }
    let start = inflated.len();
    // The length is bounded by the input now, and by the limit but for the byte that shows that it was met.
    inflated.resize((start + declared).min(bytes_max + 1), 0);
    if inflated.len() > bytes_max {
        return Ok(());
    }
    snap::raw::Decoder::new().decompress(block, &mut inflated[start..])?;
    Ok(())
}

fn damaged(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_was_compressed_inflates(input in proptest::collection::vec(proptest::num::u8::ANY, 0..5000), times in 1_usize..40) {
            let input = input.repeat(times);
            for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
                let compressed = compress(codec, &input);
                proptest::prop_assert_eq!(inflate(codec, &compressed, input.len()).unwrap(), input.clone());
            }
        }
    }
}
