//! What holds blocks, in words: the functions that allocated the links of a chain, and the chain as a line.

use crate::profile::{HeldFrom, Holder, HolderLink, Profile, RootKind};
use crate::render::collapse::first_meaningful;
use crate::words::names;
use crate::words::units::{bytes, count};

/// Names the links of all holders of a profile, and says each chain in words.
pub fn name(profile: &mut Profile) {
    let mut samples = std::mem::take(&mut profile.samples);
    for holder in samples.iter_mut().flat_map(|sample| &mut sample.holders) {
        describe(profile, holder);
    }
    profile.samples = samples;
    if let Some(mut blocks) = profile.sections.heap_blocks.take() {
        let groups = blocks.held.iter_mut().chain(&mut blocks.lost);
        for holder in groups.flat_map(|group| &mut group.holders) {
            describe(profile, holder);
        }
        profile.sections.heap_blocks = Some(blocks);
    }
}

fn describe(profile: &Profile, holder: &mut Holder) {
    for link in &mut holder.links {
        let frames: Vec<_> = profile.frames_of(link.stack).collect();
        let caller = first_meaningful(profile, &frames);
        link.function = caller.and_then(names::symbol).map(names::short);
    }
    holder.text = words(holder);
}

/// A chain in one line: `global sessions in app -> 8 KiB (rehash) -> 4 linked blocks of 32 B (insert)`.
fn words(holder: &Holder) -> String {
    let links = holder.links.iter().map(link);
    let more = (holder.more_links > 0).then(|| format!("({} more)", holder.more_links));
    let parts: Vec<String> = std::iter::once(root(&holder.root))
        .chain(links)
        .chain(more)
        .collect();
    parts.join(" -> ")
}

fn root(root: &HeldFrom) -> String {
    let name = root.name.as_deref();
    let thread = root
        .thread
        .map_or_else(String::new, |tid| format!(" of thread {tid}"));
    match root.kind {
        RootKind::Global => {
            let module = root.module.as_deref().map_or("?", file_name);
            match (name, root.offset) {
                (Some(name), _) => format!("global {name} in {module}"),
                (None, Some(offset)) => format!("data of {module}+{offset:#x}"),
                (None, None) => format!("data of {module}"),
            }
        }
        RootKind::ThreadLocal => format!("variable {}{thread}", name.unwrap_or("")),
        RootKind::Kernel => name.unwrap_or("the kernel").to_owned(),
        RootKind::Mapping => match (name, root.offset) {
            (Some(name), _) => format!("mapping {name}"),
            (None, Some(offset)) => format!("an anonymous mapping+{offset:#x}"),
            (None, None) => "anonymous mappings".to_owned(),
        },
        RootKind::Runtime => name.unwrap_or("the heap of a runtime").to_owned(),
        RootKind::YoungBlock => "a younger block".to_owned(),
        RootKind::OlderBlock => "a block older than the trace".to_owned(),
        RootKind::UnknownHeap => "heap memory of unknown content".to_owned(),
        RootKind::Stack => format!("the stack{thread}"),
        RootKind::Register => format!("a register{thread}"),
        RootKind::Written => "something not seen: it was written to".to_owned(),
    }
}

fn link(link: &HolderLink) -> String {
    let size = match link.size_min == link.size_max {
        true => bytes(link.size_min),
        false => format!("{} to {}", bytes(link.size_min), bytes(link.size_max)),
    };
    let run = match (link.length_min, link.length_max) {
        (1, 1) => size,
        (least, most) if least == most => format!("{} linked blocks of {size}", count(most as u64)),
        (least, most) => format!(
            "{} to {} linked blocks of {size}",
            count(least as u64),
            count(most as u64)
        ),
    };
    let names = [link.type_name.as_deref(), link.function.as_deref()];
    let names: Vec<&str> = names.into_iter().flatten().collect();
    match names[..] {
        [] => run,
        _ => format!("{run} ({})", names.join(", ")),
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(root: HeldFrom, links: Vec<HolderLink>, more_links: u32) -> Holder {
        Holder {
            sampled: 100,
            shared: 90,
            root,
            links,
            more_links,
            text: String::new(),
        }
    }

    fn of(kind: RootKind, name: Option<&str>) -> HeldFrom {
        HeldFrom {
            kind,
            name: name.map(str::to_owned),
            ..HeldFrom::default()
        }
    }

    #[test]
    fn a_chain_is_a_line() {
        let global = HeldFrom {
            module: Some("/opt/app/bin/app".to_owned()),
            ..of(RootKind::Global, Some("sessions"))
        };
        let table = HolderLink {
            function: Some("rehash".to_owned()),
            size_min: 8192,
            size_max: 8192,
            length_min: 1,
            length_max: 1,
            ..HolderLink::default()
        };
        let nodes = HolderLink {
            type_name: Some("Session".to_owned()),
            size_min: 32,
            size_max: 48,
            length_min: 1,
            length_max: 4000,
            ..HolderLink::default()
        };
        assert_eq!(
            words(&holder(global, vec![table, nodes], 2)),
            "global sessions in app -> 8 KiB (rehash) -> 1 to 4,000 linked blocks of 32 B to 48 B (Session) -> (2 more)"
        );
    }

    #[test]
    fn each_root_has_words() {
        let data = HeldFrom {
            module: Some("/usr/bin/redis".to_owned()),
            offset: Some(0x40),
            ..of(RootKind::Global, None)
        };
        let stack = HeldFrom {
            thread: Some(7),
            ..of(RootKind::Stack, None)
        };
        let line = |root| words(&holder(root, Vec::new(), 0));
        assert_eq!(line(data), "data of redis+0x40");
        assert_eq!(line(stack), "the stack of thread 7");
        assert_eq!(
            line(of(RootKind::Mapping, Some("/dev/shm/x"))),
            "mapping /dev/shm/x"
        );
        assert_eq!(
            line(of(RootKind::Runtime, Some("Python object arenas"))),
            "Python object arenas"
        );
        assert_eq!(
            line(of(RootKind::OlderBlock, None)),
            "a block older than the trace"
        );
    }
}
