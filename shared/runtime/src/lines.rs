//! Reading files line by line, in memory that does not grow with them.

use std::io::{self, BufRead, Read as _};

/// Reads the next line, without its newline, into `line`. One of more than `max` bytes is cut one byte later, so that
/// whoever looks at its length finds it too long. False at the end; what follows the last newline is no line, and is
/// left in `line`.
///
/// # Errors
/// Those of the file.
pub fn next_line(file: &mut impl BufRead, max: usize, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let limit = max as u64 + 2;
    file.by_ref().take(limit).read_until(b'\n', line)?;
    let is_cut = line.len() as u64 == limit;
    Ok(line.pop_if(|last| *last == b'\n').is_some() || is_cut)
}
