//! Single commands, from quite proper to quite mad.

use fastrand::Rng;

use super::judge::HELD_TUBE;
use super::session::MAX_JOB_SIZE;

/// Few names, so that commands meet.
const TUBES: [&str; 6] = ["default", "default", HELD_TUBE, "a", "b", "c.$_()+;/-"];

/// Numbers at the edges of what a server may read as one.
const HOSTILE_NUMBERS: [&str; 24] = [
    "0",
    "00",
    "0000000000000000000000000000000000000000065",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "4294967395",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "123456789012345678901234567890",
    "-1",
    "-18446744073709551615",
    "+100",
    " 100",
    "\t100",
    "",
    "x",
    "0x64",
    "100 ",
    "100.5",
    "\u{0664}",
];

/// How many jobs a connection remembers to have tried to reserve: few, so that it meets them again.
const MOST_TRIED: usize = 4;

/// Characters just outside of those that a name may have.
const HOSTILE_NAME_BYTES: &[u8] = b" \t\0\n\x01\x1f!\"#%&'*,:<=>?@[\\]^`{|}~\x7f\x80\xe9\xff";

/// Makes up commands.
pub(crate) struct Grammar {
    pub(crate) rng: Rng,
    /// The last id that was given out.
    pub(crate) last_id: u64,
    /// Jobs that the connection has tried to reserve by id, and so may hold.
    pub(crate) tried: Vec<u64>,
}

impl Grammar {
    /// A command with its CRLF and body.
    pub(crate) fn command(&mut self) -> Vec<u8> {
        match self.rng.u32(0..100) {
            0..80 => self.proper(),
            80..86 => self.with_hostile_argument(),
            86..94 => {
                let proper = self.proper();
                self.mutated(proper)
            }
            94..97 => self.garbage(),
            _ => self.too_long(),
        }
    }

    fn proper(&mut self) -> Vec<u8> {
        let line = match self.rng.u32(0..100) {
            0..20 => return self.put(),
            20..26 => "reserve-with-timeout 0".to_owned(),
            26..34 => self.reserve_job(),
            34..41 => format!("delete {}", self.held_id()),
            41..47 => format!("release {} {} {}", self.held_id(), self.priority(), self.delay()),
            47..52 => format!("bury {} {}", self.held_id(), self.priority()),
            52..55 => format!("touch {}", self.held_id()),
            55..58 => format!("delete {}", self.id()),
            58..61 => format!("kick-job {}", self.id()),
            61..66 => format!("kick {}", self.rng.u32(0..4)),
            66..69 => format!("peek {}", self.id()),
            69..71 => "peek-ready".to_owned(),
            71..73 => "peek-delayed".to_owned(),
            73..75 => "peek-buried".to_owned(),
            75..79 => format!("use {}", self.tube()),
            79..83 => format!("watch {}", self.tube()),
            83..86 => format!("ignore {}", self.tube()),
            86..89 => format!("stats-job {}", self.id()),
            89..92 => format!("stats-tube {}", self.tube()),
            92..94 => "stats".to_owned(),
            94..95 => "list-tubes".to_owned(),
            95..96 => "list-tube-used".to_owned(),
            96..97 => "list-tubes-watched".to_owned(),
            97..99 => {
                let seconds = self.rng.choice([0, 0, 1000]).unwrap_or(0);
                format!("pause-tube {} {seconds}", self.tube())
            }
            _ => return self.rare(),
        };
        (line + "\r\n").into_bytes()
    }

    fn rare(&mut self) -> Vec<u8> {
        let line =
            self.rng.choice(["quit", "quit now", "", "stats-x", "put-unique", "reserve-batch 5"]);
        [line.unwrap_or("").as_bytes(), b"\r\n"].concat()
    }

    fn put(&mut self) -> Vec<u8> {
        let size = match self.rng.u32(0..20) {
            0 => 0,
            1 => MAX_JOB_SIZE,
            2 => MAX_JOB_SIZE + 1,
            3 => self.rng.u64(0..2000),
            _ => self.rng.u64(0..20),
        };
        let ttr = self.rng.choice([100, 1000, u32::MAX]).unwrap_or(100);
        let line = format!("put {} {} {ttr} {size}\r\n", self.priority(), self.delay());
        let mut bytes = line.into_bytes();
        bytes.extend(self.body(size));
        match self.rng.u32(0..40) {
            0 => bytes.extend(b"\r"),
            1 => bytes.extend(b"x\r\n"),
            2 => bytes.extend(b"xy"),
            _ => bytes.extend(b"\r\n"),
        }
        bytes
    }

    fn body(&mut self, size: u64) -> Vec<u8> {
        let text = self.rng.choice([&b"body"[..], b"\r\n", b"delete 1\r\n", b"\0\xff\r"]);
        text.unwrap_or(b"x").iter().copied().cycle().take(size as usize).collect()
    }

    fn with_hostile_argument(&mut self) -> Vec<u8> {
        if self.rng.bool() {
            let word = self.rng.choice(["use ", "watch ", "ignore ", "stats-tube ", "pause-tube "]);
            let mut bytes = word.unwrap_or("use ").as_bytes().to_vec();
            bytes.extend(self.hostile_name());
            bytes.extend(if bytes.starts_with(b"pause") { &b" 0\r\n"[..] } else { b"\r\n" });
            return bytes;
        }
        // The four of a put, so that there are enough for every other.
        let numbers: Vec<String> = (0..4)
            .map(|_| match self.rng.bool() {
                true => self.rng.choice(HOSTILE_NUMBERS).unwrap_or("0").to_owned(),
                false => self.id().to_string(),
            })
            .collect();
        let line = match self.rng.u32(0..12) {
            0 => format!("put {} {} {} {}", numbers[0], numbers[1], numbers[2], self.rng.u32(0..9)),
            1 => format!("release {} {} {}", numbers[0], numbers[1], numbers[2]),
            2 => format!("bury {} {}", numbers[0], numbers[1]),
            3 => format!("delete {}", numbers[0]),
            4 => format!("touch {}", numbers[0]),
            5 => format!("peek {}", numbers[0]),
            6 => format!("kick {}", numbers[0]),
            7 => format!("kick-job {}", numbers[0]),
            8 => format!("reserve-job {}", numbers[0]),
            9 => format!("reserve-with-timeout {}", numbers[0]),
            10 => format!("stats-job {}", numbers[0]),
            _ => format!("pause-tube {HELD_TUBE} {}", numbers[0]),
        };
        (line + "\r\n").into_bytes()
    }

    fn hostile_name(&mut self) -> Vec<u8> {
        let length = self.rng.choice([0, 1, 2, 199, 200, 201, 215]).unwrap_or(1);
        let mut name = vec![b'n'; length];
        if !name.is_empty() && self.rng.bool() {
            let at = self.rng.usize(0..length);
            name[at] = *self.rng.choice(HOSTILE_NAME_BYTES).unwrap_or(&b' ');
        }
        if !name.is_empty() && self.rng.u32(0..4) == 0 {
            name[0] = b'-';
        }
        name
    }

    fn mutated(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..self.rng.u32(1..4) {
            if bytes.is_empty() {
                break;
            }
            let at = self.rng.usize(0..bytes.len());
            match self.rng.u32(0..6) {
                0 => bytes[at] = self.rng.u8(..),
                1 => bytes.insert(at, self.rng.u8(..)),
                2 => drop(bytes.remove(at)),
                3 => bytes.insert(at, b' '),
                4 => bytes[at] ^= 0x20,
                _ => bytes.insert(at, bytes[at]),
            }
        }
        bytes
    }

    fn garbage(&mut self) -> Vec<u8> {
        let length = self.rng.usize(0..30);
        let mut bytes: Vec<u8> = (0..length).map(|_| self.rng.u8(..)).collect();
        bytes.extend(b"\r\n");
        bytes
    }

    fn too_long(&mut self) -> Vec<u8> {
        let length = match self.rng.bool() {
            true => self.rng.usize(215..230),
            false => self.rng.usize(230..700),
        };
        let mut bytes = self.proper();
        bytes.retain(|byte| !b"\r\n".contains(byte));
        bytes.resize(length, *self.rng.choice(b" xq\0\n").unwrap_or(&b'x'));
        bytes.extend(b"\r\n");
        bytes
    }

    fn id(&mut self) -> u64 {
        match self.rng.u32(0..20) {
            0 => self.rng.u64(0..=self.last_id),
            1 => self.last_id + self.rng.u64(0..3),
            _ => self.last_id.saturating_sub(self.rng.u64(0..12)),
        }
    }

    /// A job that this connection may hold.
    fn held_id(&mut self) -> u64 {
        match self.rng.u32(0..5) {
            0 => self.id(),
            _ => self.rng.choice(&self.tried).copied().unwrap_or(self.last_id),
        }
    }

    fn reserve_job(&mut self) -> String {
        let id = self.id();
        self.tried.push(id);
        if self.tried.len() > MOST_TRIED {
            self.tried.remove(0);
        }
        format!("reserve-job {id}")
    }

    fn tube(&mut self) -> &'static str {
        self.rng.choice(TUBES).unwrap_or("default")
    }

    fn priority(&mut self) -> u32 {
        self.rng.choice([0, 1, 1, 5, 1023, 1024, u32::MAX]).unwrap_or(0)
    }

    fn delay(&mut self) -> u32 {
        self.rng.choice([0, 0, 0, 0, 0, 1000, 2000, u32::MAX]).unwrap_or(0)
    }
}
