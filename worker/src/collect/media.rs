//! What kind of content a file has.

use crate::artifact::ArtifactName;

/// Whether pieces together are UTF-8.
#[derive(Default)]
pub(super) struct Utf8 {
    /// The beginning of a character whose end has not come yet.
    begun: Vec<u8>,
    is_broken: bool,
}

impl Utf8 {
    pub(super) fn update(&mut self, piece: &[u8]) {
        if self.is_broken {
            return;
        }
        let mut piece = piece;
        while !self.begun.is_empty() {
            let Some((first, rest)) = piece.split_first() else { return };
            self.begun.push(*first);
            piece = rest;
            match std::str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(error) if error.error_len().is_some() => {
                    self.is_broken = true;
                    return;
                }
                Err(_) => {}
            }
        }
        if let Err(error) = std::str::from_utf8(piece) {
            self.is_broken = error.error_len().is_some();
            self.begun = piece[error.valid_up_to()..].to_vec();
        }
    }

    pub(super) fn is_utf8(&self) -> bool {
        !self.is_broken && self.begun.is_empty()
    }
}

/// As its name has it. Of a text, browsers need to know the encoding.
pub(super) fn media_type(name: &ArtifactName, is_utf8: bool) -> String {
    let guess = mime_guess::from_path(name.as_str()).first_raw();
    let guess = guess.unwrap_or("application/octet-stream");
    if is_utf8 && guess.starts_with("text/") {
        format!("{guess}; charset=utf-8")
    } else {
        guess.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_in_pieces() {
        let text = "aä€😀z".as_bytes();
        for cut in 0..=text.len() {
            let mut whole = Utf8::default();
            whole.update(&text[..cut]);
            whole.update(&text[cut..]);
            assert!(whole.is_utf8(), "{cut}");
            let mut part = Utf8::default();
            part.update(&text[..cut]);
            assert_eq!(part.is_utf8(), std::str::from_utf8(&text[..cut]).is_ok(), "{cut}");
        }
        let mut broken = Utf8::default();
        [&b"a\xc3"[..], b"(", b"ok"].iter().for_each(|piece| broken.update(piece));
        assert!(!broken.is_utf8());
    }
}
