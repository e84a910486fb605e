"""Every default and every bound of the system, each with its reason.

Decides: numbers only. Knows nothing: this file imports nothing.
Units close the names: ``_seconds``, ``_bytes``; a count is bare.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = "2.0.0a1"

# -- the original's face ---------------------------------------------------------------------------------

# The port of the original mincemeat.py; scripts and firewalls know it.
DEFAULT_PORT: Final = 11235

# -- job -------------------------------------------------------------------------------------------------

# P is fixed before the first record is read and independent of the workers. 64 partitions keep one partition
# of a 16 GB shuffle at 256 MB, and neighbours are coalesced when they turn out small.
PARTITIONS: Final = 64
PARTITIONS_MAX: Final = 65_536

# A task is attempted this often before its failure becomes the job's (Hadoop's default, too).
MAX_ATTEMPTS: Final = 4

# Bad records that a job with on_error="skip" sets aside before it fails: some rows of an export, not half of the input
# because of a typing error in mapfn.
MAX_SKIPPED: Final = 1000
# To find a record that kills its process: an attempt as always, one that sees where it is, one that sees it again.
MAX_ATTEMPTS_TO_SKIP: Final = 3
# A record whose process exceeded task_timeout is to blame if it alone took at least this share of that time: then no
# other record of its split did, and a split that is too long as a whole is not mistaken for a record.
CULPRIT_TIMEOUT_SHARE: Final = 0.5
# Records that are not to be run travel with each attempt of their task, in one message: how they ended their process
# is told of the first, in so many characters.
SKIP_REASONS_MAX: Final = 200
SKIP_REASON_CHARS_MAX: Final = 150
# A record (a key with its values) travels with its failure up to this size, pickled; a larger one is found again by its
# position. Most rows and lines are smaller than the traceback that they come with.
RECORD_DATA_BYTES_MAX: Final = 16 * 2**10
# A record that is found again for `mincemeat replay` is kept up to this size: some tens of them are a large file.
KEPT_RECORD_BYTES_MAX: Final = 8 * 2**20
# What an attempt tells of the records that it set aside: tracebacks and records until they are this large together ...
SET_ASIDE_DETAIL_BYTES: Final = 2**20
# ... and after that key and message alone; all of it, compressed, in a message of the control connection, where up to
# 65,536 sizes of partitions may stand beside it. What is beyond is counted, and not listed.
SET_ASIDE_REPORT_BYTES: Final = 128 * 2**10
# ... nor more of one attempt than this: four times the most that a job may lose unless its user says otherwise.
SET_ASIDE_LISTED_MAX: Final = 4096
# And in all, at about a kilobyte each in the caller's memory.
FAILURES_LISTED_MAX: Final = 100_000
# What such a report may inflate to, whoever sent it.
SET_ASIDE_INFLATED_BYTES_MAX: Final = 16 * 2**20
# Reports are kept compressed until the end of the job, so much of them; beyond that records are only counted.
SET_ASIDE_KEPT_BYTES: Final = 64 * 2**20

# A worker on which this many *different* tasks failed is sick rather than unlucky.
EXCLUDE_AFTER_FAILED_TASKS: Final = 3

# A slot's group buffer. Sampled sizes are estimates and a dict doubles when it grows, so a slot peaks at roughly
# twice this number.
MEMORY_BYTES: Final = 256 * 2**20
MEMORY_BYTES_MIN: Final = 64
# Unless the user says how much, all slots together get this share of the machine's memory (or of the container's, if
# that is less), so that at their peak half of it is left to the caller, the system and its file cache ...
MEMORY_SHARE: Final = 1 / 4
# ... and each at least this (smaller ones spend their time on disk) and at most MEMORY_BYTES, with which a job of 64
# partitions regroups nothing up to some gigabytes.
MEMORY_BYTES_LEAST: Final = 32 * 2**20
# Where the machine's memory cannot be found out: what the smallest of today's computers have.
MEMORY_ASSUMED_BYTES: Final = 4 * 2**30
# Less is a slip of the pen (memory=256) or a budget that an interpreter's own 10 MB make pointless; more is none.
MEMORY_ASKED_BYTES_MIN: Final = 2**20
MEMORY_ASKED_BYTES_MAX: Final = 64 * 2**40

# Reduce tasks coalesce neighbouring partitions until their blocks hold about this many bytes: between 50 (text columns)
# and 300 milliseconds of reducing, so that a tiny job has one reduce task, a large one has slots that end together, and
# fetching and sending, which takes some 20 milliseconds over loopback, is not most of it.
REDUCE_TASK_BYTES: Final = 8 * 2**20
# ... and no more than this share of a slot's memory, as several partitions are several tables or dicts at once, each of
# which is some four times as large as its blocks ...
REDUCE_TASK_MEMORY_SHARE: Final = 1 / 16
# ... but shrink to as little as this part of it where slots would stand idle: still longer than a round trip.
REDUCE_TASK_SHRINK_MAX: Final = 8

# -- user code -------------------------------------------------------------------------------------------

# What the user's own modules may weigh as source. Python 3.11's standard library without its tests is 800 files and
# 12.6 MB: what exceeds this is an environment or a data directory taken for a package.
USERCODE_SOURCE_BYTES_MAX: Final = 16 * 2**20
USERCODE_SOURCE_FILES_MAX: Final = 2_000

# -- group buffer ----------------------------------------------------------------------------------------

# Pairs are drained in batches, and the budget is checked between them. Large enough that the check costs a few
# nanoseconds a pair, small enough that values which suddenly grow overshoot the budget by 512 of them at most.
# measured: bench/drain.py, on a busy machine; 256 costs about a quarter more, 4096 gains nothing.
BATCH_PAIRS_MAX: Final = 512
# Pairs that were emitted many at once are there already, so that only the budget is checked between portions of them.
BATCH_COLUMNS_MAX: Final = 8192
# A batch is sized to hold at most this share of the budget, so that a check between batches is in time.
BATCH_BUDGET_SHARE: Final = 1 / 16
# Pairs that go into a compiled table before anybody else has a look: milliseconds.
TABLE_PAIRS_MAX: Final = 65_536
# A compiled table is full with so much, whatever the budget: it finds its records by numbers of 32 bits, in steps of 8.
TABLE_BYTES_MAX: Final = 16 * 2**30
# A table of up to this share of the budget becomes a dict at once: that is four to five times as large.
TABLE_UNFOLDED_SHARE: Final = 1 / 8
# Pairs of each batch whose size is measured, at about half a microsecond each.
BATCH_PAIRS_MEASURED: Final = 4
# What a key costs beside itself: an entry of a dict that is two thirds full on average, and a list with its first
# allocation; and what each further value costs in that list. measured: sys.getsizeof on 64-bit CPython 3.11.
GROUP_BYTES: Final = 176
GROUP_VALUE_BYTES: Final = 9
# If among so many pairs of a bufferful, without a combiner, this share of the keys or more is there once, the rest of
# it is not grouped: a dict of lists would cost several times as much as two columns. measured: bench/ungrouped.py
UNREPEATED_AMONG_PAIRS: Final = 8192
UNREPEATED_SHARE: Final = 0.9
# Results of reducefn are written in blocks of this many: enough to make the 40 bytes of a block's header and the
# start of a pickle disappear, few enough that a reader holds little at a time.
RESULTS_PER_BLOCK: Final = 2048
# ... unless these become larger than this much, or than a batch's share of the budget; the first block finds out.
RESULT_BLOCK_BYTES: Final = 4 * 2**20
RESULTS_PER_FIRST_BLOCK: Final = 256

# A sorted buffer is cut into ranges; one that holds more than this share of its keys is twice what it should be with
# the default number of partitions, and is written in several blocks, unless they would be tiny.
STRETCHES: Final = 32
STRETCH_KEYS_LEAST: Final = 1024

# The reduce side weighs one pair in so many, at half a microsecond each: a few nanoseconds a pair.
GROUPED_PAIRS_PER_SAMPLE: Final = 128
# A partition that does not fit into memory is dealt out into at most this many parts at a time: the blocks of a
# bufferful are then still a 64th of the budget, and two levels are enough for a thousand times the budget.
REGROUP_PARTS_MAX: Final = 64
# A key with at least this share of what memory held gets a place of its own, so that it is written once and not at
# each level. Four such keys at most, so that what they leave behind in the budget is little.
REGROUP_ALONE_SHARE: Final = 1 / 4
# Ranges of keys that do not fit are cut at keys of so many blocks, so many keys each: a few milliseconds, and for the
# least even of 64 parts about twice its share.
REGROUP_SAMPLED_BLOCKS: Final = 32
REGROUP_SAMPLED_KEYS: Final = 64
# Values read from disk come in blocks of about this size in memory: a millisecond or two to read one value somewhere,
# and 24 bytes of index for each. With a small budget a block is at most one part in so many of it.
STORED_BLOCK_BYTES: Final = 256 * 2**10
STORED_BLOCKS_MIN: Final = 16

# Blocks that may cross a network are deflated at zlib's level 1 (6 saves a tenth more for four times the time) while it
# makes them this small: a slot then deflates and its reader inflates as fast as both could send and receive with a
# fifth of a gigabit link. With more slots to a link, or a slower one, it pays. measured: bench/blocks.py.
DEFLATE_LEVEL: Final = 1
DEFLATE_RATIO_MAX: Final = 0.5
# Less than a few packets does not get there sooner, and what it shrinks by says little.
DEFLATE_BYTES_MIN: Final = 4 * 2**10
# So much of an attempt's first block is tried first: a millisecond, where a large block in vain would be a second.
DEFLATE_TRIED_BYTES: Final = 64 * 2**10
# What a peer's block may inflate to; a larger one is written as it is. A quarter of the usual budget of a slot.
INFLATED_BYTES_MAX: Final = 64 * 2**20
# How deep a peer's keys and values may be nested. pickle itself gives up at 500 (Python 3.11) to some thousands; the
# hash of a tuple ends the process some ten thousand levels down.
DECODED_DEPTH_MAX: Final = 2_000
# Without a compiler, what a slot writes is looked at up to this size: a tenth of a second at most. The reader looks at
# all of it.
CHECKED_PLAINLY_BYTES_MAX: Final = 256 * 2**10
# Names of classes that a block may mention; pickle mentions each once, however many instances there are.
DECODED_NAMES_MAX: Final = 1_000

# A map output is known by digests of so many ranges of partitions: a scheduler keeps them for each output, eight bytes
# each, and a difference in a range counts for every reduce task that has a part of it.
DIGEST_RANGES_MAX: Final = 32

# -- splits ----------------------------------------------------------------------------------------------

# Long enough that a round trip (~1 ms) does not matter, short enough that ten slots finish together.
SPLIT_SECONDS: Final = 0.2
# A split grows by at most this factor over the one before: the first record is a poor sample of the rest.
SPLIT_GROWTH: Final = 8
SPLIT_RECORDS_MAX: Final = 100_000
# An attempt may take several splits into one group buffer, so that a word of every split is sent once, and a small
# split costs no round trip. It takes at most about so long, because that much is lost with a worker ...
ATTEMPT_SECONDS: Final = 4.0
# ... and at most this part of a slot's fair share of what is left, so that all slots end together. Half is the first
# step of factoring (Hummel, Schonberg and Flynn 1992).
ATTEMPT_SHARE_OF_REST: Final = 1 / 2
# Its splits are cut together, while a slot waits: no more of them than this, and none after so many seconds.
SPLITS_PER_ATTEMPT_MAX: Final = 1024
CUTTING_SECONDS: Final = 0.05
# What a split of a dict-like datasource may weigh when serialised: it travels and is held until it is committed.
SPLIT_BYTES_MAX: Final = 4 * 2**20
# Pieces of files: large enough to hide seeks and round trips, small enough that hundreds exist at a gigabyte.
FILE_SPLIT_BYTES: Final = 4 * 2**20
# With so much of it, a second slot is worth its start before the first has been found busy.
MUCH_INPUT_BYTES: Final = 16 * 2**20
# Small files share a split until it holds this many files or FILE_SPLIT_BYTES.
FILES_PER_SPLIT_MAX: Final = 256
# What a byte of a compressed file counts for when splits are filled: text shrinks about that much.
UNFOLDED_PER_ARCHIVE_BYTE: Final = 6

# The header of a CSV file travels with each of its pieces, and a first line beyond this is no header.
CSV_HEAD_BYTES_MAX: Final = 2**20
# A field of CSV beyond this is a quote that nobody closed, about to swallow the rest of the file.
CSV_FIELD_CHARS_MAX: Final = 16 * 2**20
# What a request for a file behind a URL asks for: long against a round trip of 50 ms, little for a slot to hold.
REMOTE_FETCH_BYTES: Final = 4 * 2**20

# -- sampling (sort=True) --------------------------------------------------------------------------------

# Places all over the input, evenly spread: 63 splitters drawn from 32 places of hundreds of keys make ranges of which
# the largest is about twice its share, and reading them takes some hundredths of a second.
SAMPLE_PLACES: Final = 32
# What is read at each place of a file that is cut at line ends.
SAMPLE_PIECE_BYTES: Final = 64 * 2**10
# Files of which one is a record are looked at up to this size.
SAMPLE_FILE_BYTES_MAX: Final = 2**20
# What has to be unpacked or fetched from afar to be looked at is looked at in fewer places.
SAMPLE_PLACES_DEAR: Final = 8
# Keys looked at in all; of one place its share.
SAMPLE_KEYS: Final = 32_768
# Records pulled before the job starts from a datasource that only iterates, and for how long: less than a split.
SAMPLE_RECORDS: Final = 256
SAMPLE_PULL_SECONDS: Final = 0.2
# mapfn gets no further record after this time, and the whole is given up after that: an interpreter may have to load
# the user's heavy modules, which the job's first attempt then finds loaded.
SAMPLE_SECONDS: Final = 1.0
SAMPLE_SECONDS_MAX: Final = 20.0

# -- what a slot may use up, and the sandbox -----------------------------------------------------------------

# An interpreter with mincemeat may write to 11 MB; with NumPy, on two cores, to 90, buffers of its threads included.
SLOT_MEMORY_BYTES_MIN: Final = 64 * 2**20
# A slot's group buffer peaks at twice its budget; as much again is for the user's functions and the interpreter.
SLOT_MEMORY_BUDGET_SHARE: Final = 1 / 4
# A year: more is a slip of the pen.
SLOT_CPU_SECONDS_MAX: Final = 365 * 86_400
# Sorting and regrouping hold some hundred files open at a time; 1024 is what most systems give a user.
SANDBOX_FILES: Final = 1024
# Threads count. Each library that calculates may start one a core, and there are rarely more than a few such in a job.
SANDBOX_PROCESSES: Final = 256
SANDBOX_PROCESSES_PER_CORE: Final = 8
# What a slot may say to a worker at once. An exception of the user's goes further only up to EXCEPTION_BYTES_MAX.
SLOT_MESSAGE_BYTES_MAX: Final = 64 * 2**20
# An interpreter's start on a machine that is busy with everything else.
SANDBOX_START_SECONDS: Final = 60.0

# -- preflight -------------------------------------------------------------------------------------------

# A job that is over by then gains nothing from a look at its functions; one that is not does not notice it.
PREFLIGHT_AFTER_SECONDS: Final = 0.5
# No record is begun after this time, no key after as much again, and all is given up then: a slip shows at once.
PREFLIGHT_SECONDS: Final = 0.2
PREFLIGHT_SECONDS_MAX: Final = 1.0
PREFLIGHT_POLL_SECONDS: Final = 0.05
# So many splits, records of each, keys of theirs, and pairs of each record.
PREFLIGHT_SPLITS: Final = 2
PREFLIGHT_RECORDS: Final = 4
PREFLIGHT_PAIRS: Final = 1000

# -- scheduler -------------------------------------------------------------------------------------------

HEARTBEAT_SECONDS: Final = 2.0
# What a worker lets a server ask for: many times as often as any does, and still no load. Tests hurry.
HEARTBEAT_SECONDS_LEAST: Final = 0.005
# A job's identity: the name of a script, and what tells its runs apart.
JOB_ID_CHARS_MAX: Final = 1024
# Four missed heartbeats: longer than a garbage collection or a busy machine's pause. With half a second until the next
# tick, and a second and a half for a slow machine, whoever is frozen or cut off is noticed within ten.
LEASE_SECONDS: Final = 8.0
# Who finds a timer so late was stopped itself (a suspended laptop), and first reads what has come meanwhile.
HELD_UP_SECONDS: Final = 0.5
# A coordinator that goes on with a job waits so long for the workers that hold map outputs: they dial every two
# seconds, and some may find the door crowded.
COME_BACK_SECONDS: Final = 15.0
# Attempts are numbered from a multiple of this in each life of a job: more than any task has in one.
ATTEMPTS_PER_LIFE: Final = 10_000
# Backup attempts (Dean and Ghemawat 2004, section 3.6): only late in a phase, only for real stragglers, only a few.
BACKUP_AFTER_COMMITTED_SHARE: Final = 0.75
BACKUP_WHEN_SLOWER_THAN_MEDIAN: Final = 3.0
BACKUP_SHARE_MAX: Final = 0.10
# Phases below this many tasks may be repeated on idle slots outright.
SMALL_JOB_TASKS: Final = 10
# No second attempt before the first has run so long: the loser's process is killed, and another interpreter with the
# user's imports costs tenths of a second. A job that ends within a second has nobody to wait for.
BACKUP_SECONDS_LEAST: Final = 1.0
# The median of this many latest attempts is what a straggler is compared with: steady enough, and quick to sort.
BACKUP_DURATIONS_KEPT: Final = 101
# Attempts lost through nobody's fault are no failures, but a task that was lost more often than this is likely what
# takes its workers down, and must not do so for ever. Far above what workers that come and go do to one task.
LOST_ATTEMPTS_MAX: Final = 16
# A task's story keeps its latest attempts: more than MAX_ATTEMPTS + LOST_ATTEMPTS_MAX, so that an error tells it whole.
STORY_ATTEMPTS_MAX: Final = 24

# -- wire ------------------------------------------------------------------------------------------------

# A frame, header included. Bodies beyond it travel as a sequence of chunks, so nobody allocates what a peer declares.
FRAME_BYTES_MAX: Final = 2**20
CHUNK_BYTES: Final = 256 * 2**10
# A body up to this size rides in the control frame that announces it; a larger one has a data connection.
INLINE_BODY_BYTES: Final = 256 * 2**10
# A connection stops reading from its peer when this much waits for the program, and makes a sender wait when this much
# waits for the peer: two chunks, so that one is worked on while the next is on its way.
CONNECTION_BUFFER_BYTES: Final = 512 * 2**10
# A connection that was closed has this long to deliver what was already sent; a peer that does not read is cut off.
CLOSE_SECONDS: Final = 2.0
# Connections that the kernel holds for us: 500 workers may start in the same second.
LISTEN_BACKLOG: Final = 1024

# -- before authentication (SECURITY: one deadline over everything, few slots) ----------------------------

HANDSHAKE_SECONDS: Final = 10.0
# A worker that has left may fetch blocks of the others for so long yet: all get new keys for tickets then, which is one
# message each, however many have left meanwhile.
EPOCH_SECONDS: Final = 10.0
UNAUTHENTICATED_MAX: Final = 64
UNAUTHENTICATED_PER_ADDRESS_MAX: Final = 16
CLIENT_HELLO_BYTES_MAX: Final = 16 * 2**10
GUESS_BURST: Final = 10
GUESS_REFILL_PER_SECOND: Final = 0.2
GUESS_ADDRESSES_MAX: Final = 4096
# A worker whose password is refused exits at once: somebody mistyped it, and trying on would look like an attack. A
# connection that is closed instead of an answer may be the crowd at the door: so often means a refusal.
PASSWORD_REFUSALS_MAX: Final = 5

# -- worker ----------------------------------------------------------------------------------------------

# How long a worker waits for a server that is not there (yet, or any more) unless told otherwise.
WAIT_SECONDS: Final = 30.0
RETRY_SECONDS_MIN: Final = 0.1
RETRY_SECONDS_MAX: Final = 2.0
# ... and at least so long for one that is there and busy: five hundred workers behind one address all get in.
BUSY_SECONDS: Final = 60.0
# Connecting to another worker for its blocks; beyond it the coordinator relays.
FETCH_CONNECT_SECONDS: Final = 5.0
DATA_CONNECTIONS_PER_PEER: Final = 4
# What a coordinator grants a worker: twice the above (what it gets, and what it uploads for others), and as many again
# that were given up and whose end has not been seen yet.
CHANNELS_PER_WORKER_MAX: Final = 16
# Map outputs asked for at once: their names must fit into a frame.
OUTPUTS_PER_FETCH_MAX: Final = 10_000
# Messages that wait for a worker which does not read: a few for each of thousands of slots.
OUTBOX_MESSAGES_MAX: Final = 16_384
# A worker that is asked to end (SIGTERM) may take so long to finish its attempts and serve its map outputs: Kubernetes
# kills after 30, systemd after 90 seconds, and both of them expect a sign of good will before.
DRAIN_SECONDS: Final = 25.0
# Map outputs of an earlier connection that a worker may announce; their names travel this many at a time.
HELD_OUTPUTS_MAX: Final = 10_000_000
HELD_OUTPUTS_PER_MESSAGE: Final = 10_000
# A worker that lost a server which keeps a journal holds its outputs and dials again for so long, because somebody has
# to notice and start that server again. Without a journal there is nothing that anybody could go on with.
KEEP_OUTPUTS_SECONDS: Final = 600.0
# A pickled exception larger than this stays on the worker; its message, cut to this many characters, travels.
EXCEPTION_BYTES_MAX: Final = 256 * 2**10
MESSAGE_CHARS_MAX: Final = 4096

# The one file has 1.5 MB. What a server offers beyond this is something else, and is not kept.
ONE_FILE_BYTES_MAX: Final = 16 * 2**20
# It is there after so long over a line of 100 kbit/s. Who does not read it any faster holds a connection for nothing.
ONE_FILE_SECONDS: Final = 120.0

# -- texts -----------------------------------------------------------------------------------------------

# Keys and messages in errors are cut to this length: an error is read by a person.
REPR_CHARS_MAX: Final = 200
TRACEBACK_CHARS_MAX: Final = 32_768

# -- command line ----------------------------------------------------------------------------------------

# A table on a terminal: about a screenful; who wants more has a file or --top.
TABLE_ROWS_MAX: Final = 50
# Lines for a pipe wait in memory up to this size, then in a temporary file, until the job is committed.
LINES_SPOOL_BYTES: Final = 16 * 2**20
