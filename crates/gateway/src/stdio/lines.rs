//! Lines of bounded length from a pipe.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Why no further line can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineFault {
    /// The pipe ended.
    End,
    /// The line is longer than allowed.
    TooLong,
}

/// Reads one line into `line`, without its end. What follows the last line end is no line.
pub(super) async fn read_line<R: AsyncBufRead + Unpin>(
    pipe: &mut R,
    line: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<(), LineFault> {
    line.clear();
    loop {
        let held = pipe.fill_buf().await.map_err(|_| LineFault::End)?;
        if held.is_empty() {
            return Err(LineFault::End);
        }
        let end = held.iter().position(|byte| *byte == b'\n');
        let piece = held.get(..end.unwrap_or(held.len())).unwrap_or_default();
        if line.len() + piece.len() > bytes_max {
            return Err(LineFault::TooLong);
        }
        line.extend_from_slice(piece);
        let taken = piece.len() + usize::from(end.is_some());
        pipe.consume(taken);
        if end.is_some() {
            return Ok(());
        }
    }
}

/// Passes what a child writes to its standard error to our own log, up to a limit: it is for
/// people, and may hold anything. The rest is read and dropped, or the child would block.
pub(super) async fn log<R: AsyncBufRead + Unpin>(mut pipe: R, program: &str) {
    let mut line = Vec::new();
    let mut left = LOG_BYTES_MAX;
    loop {
        match read_line(&mut pipe, &mut line, LOG_LINE_BYTES_MAX).await {
            Ok(()) if line.len() <= left => {
                left -= line.len();
                // `?` escapes control characters, which could otherwise forge lines of the log.
                tracing::info!(program, text = ?String::from_utf8_lossy(&line), "standard error");
            }
            Ok(()) => {
                if left > 0 {
                    tracing::warn!(program, "standard error is no longer logged");
                }
                left = 0;
            }
            Err(LineFault::TooLong) => tracing::info!(program, "long line on standard error"),
            Err(LineFault::End) => return,
        }
    }
}

const LOG_LINE_BYTES_MAX: usize = 4 << 10;
const LOG_BYTES_MAX: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(mut text: &[u8], bytes_max: usize) -> (Vec<String>, LineFault) {
        let mut lines = Vec::new();
        let mut line = Vec::new();
        loop {
            match read_line(&mut text, &mut line, bytes_max).await {
                Ok(()) => lines.push(String::from_utf8(line.clone()).unwrap()),
                Err(fault) => return (lines, fault),
            }
        }
    }

    #[tokio::test]
    async fn a_line_ends_with_its_line_feed() {
        assert_eq!(
            lines(b"ab\n\ncd\nef", 4).await,
            (vec!["ab".into(), String::new(), "cd".into()], LineFault::End)
        );
        assert_eq!(lines(b"", 4).await, (vec![], LineFault::End));
    }

    #[tokio::test]
    async fn a_line_is_bounded() {
        assert_eq!(lines(b"abcd\nabcde\n", 4).await, (vec!["abcd".into()], LineFault::TooLong));
    }
}
