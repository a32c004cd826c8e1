//! `jq-server hash-token`: makes the lines for the file of `--auth`.

use std::fmt;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use beanstalk_protocol::Token;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::stat::{SFlag, fstat, major, minor};
use nix::sys::termios::{FlushArg, LocalFlags, SetArg, Termios, tcflush, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;

use super::token::{self, CannotHash, Hash, MIN_SECRET};

/// What to hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashToken {
    /// The name of the principal: see [`token::is_name`].
    pub name: String,
    /// Whether to make a token, instead of reading one.
    pub generate: bool,
}

/// Why there is no hash.
#[derive(Debug)]
pub enum HashTokenError {
    /// What was read cannot be a token.
    Input(String),
    /// The hash cannot be computed.
    Hash(CannotHash),
    /// Something cannot be read or written: what, and why.
    Io(&'static str, io::Error),
    /// A signal came while a token was typed: its number.
    Interrupted(i32),
}

impl fmt::Display for HashTokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(expected) => write!(f, "hash-token: {expected}"),
            Self::Hash(error) => write!(f, "hash-token: {error}"),
            Self::Io(what, error) => write!(f, "hash-token: cannot {what}: {error}"),
            Self::Interrupted(_) => f.write_str("hash-token: interrupted"),
        }
    }
}

impl std::error::Error for HashTokenError {}

impl HashToken {
    /// Reads the token or makes one, and writes the lines for the file to standard output. A token that was
    /// made is then written to standard error, alone on its line.
    ///
    /// # Errors
    ///
    /// What was read is no token; there is no memory for the hash; or something cannot be read or written.
    pub fn run(&self) -> Result<(), HashTokenError> {
        // Before a token is made that nobody could get, or a hash that would be nowhere.
        check_open(io::stdout()).map_err(|error| HashTokenError::Io("write the hash", error))?;
        if self.generate {
            check_open(io::stderr())
                .map_err(|error| HashTokenError::Io("write the token", error))?;
        }
        let token = if self.generate {
            token::generate(&self.name).map_err(|error| HashTokenError::Hash(error.into()))?
        } else {
            self.read()?
        };
        let hash = Hash::of(&token).map_err(HashTokenError::Hash)?;
        let lines = lines(&self.name, &hash);
        let mut output = io::stdout().lock();
        output
            .write_all(lines.as_bytes())
            .and_then(|()| output.flush())
            .map_err(|error| HashTokenError::Io("write the hash", error))?;
        if self.generate {
            // Only when the hash is written: whoever has a token can use it.
            let line = [token.as_bytes(), b"\n"].concat();
            io::stderr()
                .write_all(&line)
                .map_err(|error| HashTokenError::Io("write the token", error))?;
        }
        Ok(())
    }

    fn read(&self) -> Result<Token, HashTokenError> {
        let input = io::stdin();
        if !input.is_terminal() {
            let line = read_input(input.lock())
                .map_err(|error| HashTokenError::Io("read standard input", error))?;
            return of_line(&self.name, &line);
        }
        let ask = |prompt: String| {
            let line = typed(&prompt)?;
            of_line(&self.name, &line)
        };
        let token = ask(format!("Token of {}: ", self.name))?;
        if ask("The same again: ".to_owned())? == token {
            Ok(token)
        } else {
            Err(HashTokenError::Input("the two tokens differ".to_owned()))
        }
    }
}

/// Fails if this standard stream was closed when the program was started (`>&-`). The standard library has then
/// opened `/dev/null` in its place, for reading and writing, so what is written is lost without an error. A shell
/// that is told `>/dev/null` opens it for writing only.
fn check_open(stream: impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(&stream, FcntlArg::F_GETFL)?);
    let of = fstat(&stream)?;
    let is_device = of.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits();
    let is_nothing = is_device && (major(of.st_rdev), minor(of.st_rdev)) == (1, 3);
    if is_nothing && flags & OFlag::O_ACCMODE == OFlag::O_RDWR {
        return Err(Errno::EBADF.into());
    }
    Ok(())
}

/// The lines for the file. The first is empty, in case that what is there has no line end.
fn lines(name: &str, hash: &Hash) -> String {
    format!("\n[[principal]]\nname = \"{name}\"\ntokens = [\"{}\"]\n", hash.as_str())
}

/// Reads all of a short input.
fn read_input(input: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // A token, its line end, and one byte by which it is too long.
    input.take(Token::MAX as u64 + 3).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The token that is on a line: the whole of it, or the secret only.
fn of_line(name: &str, line: &[u8]) -> Result<Token, HashTokenError> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let bad = |message: String| Err(HashTokenError::Input(message));
    if line.is_empty() {
        return bad("the token is empty: expected one line with the secret or the token".to_owned());
    }
    if !line.iter().all(u8::is_ascii_graphic) {
        let what = "the token has other than visible ASCII characters";
        return bad(format!("{what}: expected one line with the secret or the token"));
    }
    let prefix = format!("{name}.");
    let whole = line.strip_prefix(prefix.as_bytes());
    if whole.is_none() && line.contains(&b'.') {
        // Nobody would be let in with it as a secret. What precedes the dot is not shown: it may be one.
        return bad(format!(
            "this looks like the token of another principal: expected a secret without a dot, or a token that \
             begins with {prefix:?}. To use a secret with a dot, give the whole token: {prefix}SECRET"
        ));
    }
    let secret = whole.unwrap_or(line);
    if secret.len() < MIN_SECRET {
        return bad(format!("the secret is too short: expected at least {MIN_SECRET} characters"));
    }
    match Token::new(&[prefix.as_bytes(), secret].concat()) {
        Ok(token) => Ok(token),
        Err(_) => {
            let most = Token::MAX - prefix.len();
            bad(format!("the secret is too long: expected at most {most} characters"))
        }
    }
}

/// A line that is typed at the terminal of standard input, which does not show it. Whatever ends the
/// program meanwhile, the terminal is as it was.
fn typed(prompt: &str) -> Result<Vec<u8>, HashTokenError> {
    let failed = |error| HashTokenError::Io("read the terminal", error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(failed)?;
    let line = runtime.block_on(async {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        let (mut interrupt, mut terminate) =
            (interrupt.map_err(failed)?, terminate.map_err(failed)?);
        let mut hangup = hangup.map_err(failed)?;
        // Registered before: from here on no signal ends the program without this being undone.
        let _silent = Silent::begin(prompt).map_err(failed)?;
        let line = spawn_blocking(|| read_line(io::stdin().lock()));
        let signal = tokio::select! {
            line = line => return line.map_err(io::Error::other).and_then(|line| line).map_err(failed),
            _ = interrupt.recv() => libc::SIGINT,
            _ = terminate.recv() => libc::SIGTERM,
            _ = hangup.recv() => libc::SIGHUP,
        };
        Err(HashTokenError::Interrupted(signal))
    });
    // Whoever is interrupted does not wait for a line.
    runtime.shutdown_background();
    line
}

/// Reads up to a line end, byte by byte: what follows is for the next who reads.
fn read_line(mut input: impl Read) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < Token::MAX + 3 && input.read(&mut byte)? > 0 {
        line.push(byte[0]);
        if byte[0] == b'\n' {
            break;
        }
    }
    Ok(line)
}

/// A terminal that does not show what is typed. When it is dropped, it shows it again.
struct Silent(Termios);

impl Silent {
    fn begin(prompt: &str) -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ECHONL);
        // What was typed before is shown already, and is not the token.
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &silent)?;
        let silent = Self(before);
        io::stderr().write_all(prompt.as_bytes())?;
        Ok(silent)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // What is typed and not read may be part of a token: it is for nobody else. Neither waits for output.
        let _ = tcflush(io::stdin(), FlushArg::TCIFLUSH);
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
        // The line end that was not shown either.
        let _ = io::stderr().write_all(b"\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &[u8]) -> String {
        of_line("site", line).unwrap_err().to_string()
    }

    #[test]
    fn a_line_is_a_secret_or_a_token() {
        let expected = Token::new(b"site.0123456789abcdef").unwrap();
        for line in [
            "0123456789abcdef",
            "0123456789abcdef\n",
            "0123456789abcdef\r\n",
            "site.0123456789abcdef\n",
        ] {
            assert_eq!(of_line("site", line.as_bytes()).unwrap(), expected, "{line:?}");
        }
        // A secret with a dot, in the one form in which it cannot be somebody else's token.
        let dotted = of_line("site", b"site.other.0123456789abcdef").unwrap();
        assert_eq!(dotted.as_bytes(), b"site.other.0123456789abcdef");
    }

    #[test]
    fn the_token_of_another_principal_is_told() {
        for line in ["other.0123456789abcdef", "Site.0123456789abcdef\r\n", "other.short", "a.b.c"]
        {
            let message = told(line.as_bytes());
            assert!(message.contains("looks like the token of another principal"), "{message}");
            assert!(message.contains("begins with \"site.\""), "{message}");
            assert!(message.ends_with("give the whole token: site.SECRET"), "{message}");
            assert!(!message.contains("other.") && !message.contains("0123"), "{message}");
        }
    }

    #[test]
    fn what_is_no_token_is_told() {
        for empty in [&b""[..], b"\n", b"\r\n"] {
            assert!(told(empty).contains("empty"), "{empty:?}");
        }
        assert!(told(b"0123456789abcde").contains("too short: expected at least 16"));
        assert!(told(b"site.0123456789abcde").contains("too short"));
        for bad in [&b"0123456789abcdef x"[..], "0123456789abcdef\u{e9}".as_bytes(), b"a\nb\n"] {
            assert!(told(bad).contains("visible ASCII"), "{bad:?}");
        }
        let most = Token::MAX - "site.".len();
        assert!(of_line("site", &vec![b'x'; most]).is_ok());
        let message = told(&vec![b'x'; most + 1]);
        assert!(message.contains(&format!("too long: expected at most {most}")), "{message}");
        let secret = "0123456789abcdef x";
        assert!(!told(secret.as_bytes()).contains(secret));
    }

    #[test]
    fn only_as_much_is_read_as_a_token_has() {
        let endless = io::repeat(b'x');
        let read = read_input(endless).unwrap();
        assert!(told(&read).contains("too long"));
        assert!(told(&read_line(io::repeat(b'x')).unwrap()).contains("too long"));
        let mut two = &b"first\nsecond\n"[..];
        assert_eq!(read_line(&mut two).unwrap(), b"first\n");
        assert_eq!(read_line(&mut two).unwrap(), b"second\n");
    }
}
