//! Messages as lines: MCP 2026-07-28, stdio.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Where messages for the client go. Clones write to the same client, one line at a time.
#[derive(Clone, Debug)]
pub(crate) struct Lines(mpsc::Sender<String>);

impl Lines {
    /// Lines and the task's work that writes them.
    pub(crate) fn new<W: AsyncWrite + Unpin + Send>(
        output: W,
    ) -> (Self, impl Future<Output = io::Result<()>> + Send) {
        let (sender, receiver) = mpsc::channel(QUEUE_LINES);
        (Self(sender), write(receiver, output))
    }

    /// Queues one message, which holds no line end; waits while the client is slow.
    pub(crate) async fn send(&self, message: String) {
        // A client that is gone is noticed by the reader.
        drop(self.0.send(message).await);
    }
}

async fn write<W: AsyncWrite + Unpin>(
    mut receiver: mpsc::Receiver<String>,
    mut output: W,
) -> io::Result<()> {
    while let Some(mut line) = receiver.recv().await {
        line.push('\n');
        output.write_all(line.as_bytes()).await?;
        output.flush().await?;
    }
    Ok(())
}

/// One line of input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Without its end.
    Text(Vec<u8>),
    /// Longer than [`LINE_BYTES_MAX`]; skipped.
    TooLong,
}

/// The next line; none at the end of the input.
pub(crate) async fn next<R: AsyncBufRead + Unpin>(input: &mut R) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        let chunk = input.fill_buf().await?;
        if chunk.is_empty() {
            let nothing = line.is_empty() && !too_long;
            return Ok((!nothing).then(|| finished(line, too_long)));
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let (part, used) = match end {
            Some(end) => (chunk.get(..end).unwrap_or_default(), end + 1),
            None => (chunk, chunk.len()),
        };
        too_long |= line.len() + part.len() > LINE_BYTES_MAX;
        if too_long {
            line = Vec::new();
        } else {
            line.extend_from_slice(part);
        }
        input.consume(used);
        if end.is_some() {
            return Ok(Some(finished(line, too_long)));
        }
    }
}

fn finished(line: Vec<u8>, too_long: bool) -> Line {
    if too_long { Line::TooLong } else { Line::Text(line) }
}

const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
const QUEUE_LINES: usize = 64;

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    #[tokio::test]
    async fn lines_are_split_and_the_last_needs_no_end() {
        let mut input = BufReader::with_capacity(3, &b"ab\n\nlast"[..]);
        assert_eq!(next(&mut input).await.unwrap(), Some(Line::Text(b"ab".to_vec())));
        assert_eq!(next(&mut input).await.unwrap(), Some(Line::Text(Vec::new())));
        assert_eq!(next(&mut input).await.unwrap(), Some(Line::Text(b"last".to_vec())));
        assert_eq!(next(&mut input).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_line_without_end_takes_bounded_memory() {
        let mut text = vec![b'x'; LINE_BYTES_MAX + 1];
        text.extend_from_slice(b"\nnext\n");
        let mut input = BufReader::new(&text[..]);
        assert_eq!(next(&mut input).await.unwrap(), Some(Line::TooLong));
        assert_eq!(next(&mut input).await.unwrap(), Some(Line::Text(b"next".to_vec())));
    }
}
