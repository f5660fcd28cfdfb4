//! Limits of the miner. Each says what happens when it is reached.

/// Bytes of a message that are looked at; the rest becomes one trailing slot.
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// Raw tokens of a message that are looked at; the rest becomes one trailing slot.
pub const TOKENS_MAX: usize = 256;
/// Bytes of what these limits cut off that are looked at for their words; a slot that held more may hold anything.
pub const REST_BYTES_MAX: usize = 16 << 10;
/// Lines of a message that are looked at while searching the first one that holds a letter (stack traces, banners, pretty-printed JSON).
pub const HEAD_LINES_MAX: usize = 4;
/// Clusters per tenant, unless configured otherwise; later new kinds of message get the catch-all template.
pub const CLUSTERS_MAX_DEFAULT: usize = 16_384;
/// Template ids per tenant, unless configured otherwise; later new shapes share the id of their cluster.
pub const TEMPLATES_MAX_DEFAULT: usize = 65_536;
/// Remembered shapes per tenant, unless configured otherwise; the older half is forgotten and found again through its cluster.
pub const SHAPES_MAX_DEFAULT: usize = 65_536;
/// Ids one cluster hands out; its later shapes all get the id of the cluster (a varying token must not mint ids without end).
pub const SHAPES_PER_CLUSTER_MAX: u16 = 16;
/// Words of a template, from the left, that may be found to vary; bounds the index entries a message can create.
pub const VARYING_WORDS_MAX: usize = 32;
/// Bytes of a traceback that are searched for the line that names the exception; without one the trace is one trailing slot.
pub const TRACE_BYTES_MAX: usize = 65_536;
/// Different texts of a slot that are kept as they are; with more only their characters and lengths are known.
pub const SLOT_VALUES_MAX: usize = 128;
/// Bytes of the texts kept for one slot; beyond, only their characters and lengths are known.
pub const SLOT_VALUE_BYTES_MAX: usize = 2048;
/// Different runs of letters kept for a slot whose texts are too many to keep and hold white space; with more, none are.
pub const SLOT_WORDS_MAX: usize = 256;
/// Memory of all texts kept and words kept for a tenant's slots; beyond, later slots keep characters and lengths only.
pub const VALUES_BYTES_MAX: usize = 8 << 20;
/// Bytes of an encoded catalog once decompressed; a larger one is refused as corrupt.
pub const ENCODED_BYTES_MAX: usize = 256 << 20;

const _: () = assert!(CLUSTERS_MAX_DEFAULT <= TEMPLATES_MAX_DEFAULT);
const _: () = assert!(MESSAGE_BYTES_MAX <= u16::MAX as usize, "token positions are u16");
