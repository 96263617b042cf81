"""The shape of the database, as numbered steps; ``PRAGMA user_version`` says how many a file has seen."""

import sqlite3
from collections.abc import Mapping

from roommate.errors import StateError

STEPS = (
    """
    CREATE TABLE sync (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        since TEXT,
        pace REAL NOT NULL DEFAULT 0,            -- seconds per event that the homeserver's 429s taught us
        homeserver TEXT, user_id TEXT, device_id TEXT, access_token TEXT
    );
    INSERT INTO sync (id) VALUES (1);

    CREATE TABLE rooms (
        room_id TEXT PRIMARY KEY,
        membership TEXT NOT NULL,                -- join, invite, leave
        joined INTEGER NOT NULL DEFAULT 0,       -- members, the bot included
        encrypted INTEGER NOT NULL DEFAULT 0,
        name TEXT,
        model TEXT                               -- chosen with !model
    );

    CREATE TABLE inbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        event_id TEXT NOT NULL UNIQUE,
        room_id TEXT NOT NULL,
        sender TEXT NOT NULL,
        sent_at INTEGER NOT NULL,                -- ms since 1970, the homeserver's clock
        kind TEXT NOT NULL,
        body TEXT NOT NULL,                      -- JSON
        state TEXT NOT NULL DEFAULT 'new'        -- new, queued (people see that it waits), done (or a turn has it)
    );
    CREATE INDEX inbox_waiting ON inbox (room_id, seq) WHERE state != 'done';

    CREATE TABLE conversations (
        id INTEGER PRIMARY KEY,
        room_id TEXT NOT NULL,
        thread TEXT NOT NULL,                    -- event id of the thread's root, '' for the room itself
        cleared INTEGER NOT NULL DEFAULT 0,      -- turns up to this one are forgotten (!reset)
        UNIQUE (room_id, thread)
    );

    CREATE TABLE outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        room_id TEXT NOT NULL,
        rank INTEGER NOT NULL,
        txn_id TEXT NOT NULL UNIQUE,
        once TEXT UNIQUE,
        event_type TEXT NOT NULL,
        content TEXT NOT NULL,                   -- JSON
        edits INTEGER REFERENCES outbox (id),
        redacts INTEGER REFERENCES outbox (id),
        upload BLOB,
        event_id TEXT,
        failed TEXT,
        state TEXT NOT NULL DEFAULT 'unsent'     -- unsent, sent, failed
    );
    CREATE INDEX outbox_unsent ON outbox (id) WHERE state = 'unsent';
    CREATE INDEX outbox_events ON outbox (event_id);

    CREATE TABLE turns (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation_id INTEGER NOT NULL REFERENCES conversations (id),
        inbox_seq INTEGER NOT NULL UNIQUE REFERENCES inbox (seq),
        live INTEGER REFERENCES outbox (id),     -- the turn's live message
        model TEXT NOT NULL,
        stop TEXT,                               -- NULL while it runs
        started REAL NOT NULL,                   -- seconds since 1970
        ended REAL,
        input_tokens INTEGER NOT NULL DEFAULT 0,
        output_tokens INTEGER NOT NULL DEFAULT 0,
        cost REAL                                -- US dollars
    );
    CREATE INDEX turns_of ON turns (conversation_id, id);
    CREATE INDEX turns_running ON turns (id) WHERE stop IS NULL;

    CREATE TABLE steps (
        id INTEGER PRIMARY KEY,
        turn_id INTEGER NOT NULL REFERENCES turns (id),
        kind TEXT NOT NULL,
        body TEXT NOT NULL                       -- JSON
    );
    CREATE INDEX steps_of ON steps (turn_id, id);

    CREATE TABLE cards (
        id INTEGER PRIMARY KEY,
        room_id TEXT NOT NULL,
        outbox_id INTEGER NOT NULL REFERENCES outbox (id),
        what TEXT NOT NULL,                      -- what is asked, such as reset-workspace
        verdict TEXT,                            -- NULL while it is open
        decided_by TEXT,
        expires REAL NOT NULL                    -- seconds since 1970
    );
    """,
    """
    ALTER TABLE cards ADD COLUMN thread TEXT;    -- event id of the root of the thread that it was put up in
    """,
    """
    ALTER TABLE cards ADD COLUMN subject TEXT NOT NULL DEFAULT '';
    ALTER TABLE cards ADD COLUMN choices TEXT NOT NULL DEFAULT '✅ ❌';
    ALTER TABLE cards ADD COLUMN operators_only INTEGER NOT NULL DEFAULT 0;
    """,
    """
    ALTER TABLE rooms ADD COLUMN prompt TEXT;    -- what operators tell the model here, with !prompt
    CREATE TABLE agents_preferred (              -- which coding agents a room asks first
        room_id TEXT NOT NULL,
        role TEXT NOT NULL,                      -- plan, implement
        agents TEXT NOT NULL,                    -- names, with a space between them
        PRIMARY KEY (room_id, role)
    ) WITHOUT ROWID;
    CREATE TABLE agent_sessions (                -- what a coding agent goes on with
        room_id TEXT NOT NULL,
        agent TEXT NOT NULL,
        session TEXT NOT NULL,
        PRIMARY KEY (room_id, agent)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE egress (                        -- where a room may connect to, besides its presets
        room_id TEXT NOT NULL,
        host TEXT NOT NULL,
        port INTEGER NOT NULL,                   -- 0: 80 and 443
        added_by TEXT NOT NULL,
        PRIMARY KEY (room_id, host, port)
    ) WITHOUT ROWID;
    CREATE TABLE egress_presets (
        room_id TEXT PRIMARY KEY,
        presets TEXT NOT NULL                    -- names, with a space between them
    ) WITHOUT ROWID;
    CREATE TABLE agent_usage (                   -- what coding agents use through the model gateway
        room_id TEXT NOT NULL,
        agent TEXT NOT NULL,
        model TEXT NOT NULL,
        requests INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        PRIMARY KEY (room_id, agent, model)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE ipc (
        id INTEGER PRIMARY KEY,
        room_id TEXT NOT NULL,
        name TEXT NOT NULL,                      -- of the file: it is read once, whatever crashes
        body TEXT NOT NULL,                      -- JSON
        state TEXT NOT NULL DEFAULT 'new',       -- new, done (people see it, or need not)
        turn_id INTEGER REFERENCES turns (id),   -- the turn whose message shows it
        UNIQUE (room_id, name)
    );
    CREATE INDEX ipc_new ON ipc (room_id, id) WHERE state = 'new';
    CREATE INDEX ipc_of ON ipc (turn_id) WHERE turn_id IS NOT NULL;
    """,
    """
    CREATE TABLE audit (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,                     -- ms since 1970
        who TEXT NOT NULL,
        via TEXT NOT NULL,
        what TEXT NOT NULL,
        outcome TEXT NOT NULL,
        room_id TEXT,
        subject TEXT NOT NULL,
        detail TEXT NOT NULL,
        hash BLOB NOT NULL                       -- SHA-256 of the hash before and of this row
    );
    CREATE INDEX audit_of ON audit (room_id, number);
    CREATE TABLE audit_anchor (                  -- the newest row that is forgotten: the chain begins behind it
        id INTEGER PRIMARY KEY CHECK (id = 1),
        number INTEGER NOT NULL,
        hash BLOB NOT NULL
    );
    INSERT INTO audit_anchor VALUES (1, 0, zeroblob(32));
    CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
    BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
    CREATE TRIGGER audit_is_not_cut BEFORE DELETE ON audit WHEN OLD.number > (SELECT number FROM audit_anchor)
    BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
    CREATE TRIGGER audit_anchor_moves_on BEFORE UPDATE ON audit_anchor
    WHEN NEW.number <= OLD.number OR NEW.hash IS NOT (SELECT hash FROM audit WHERE number = NEW.number)
    BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
    CREATE TRIGGER audit_anchor_stays BEFORE DELETE ON audit_anchor
    BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
    """,
    """
    CREATE TABLE pauses (
        room_id TEXT PRIMARY KEY,                -- '' for all rooms
        by TEXT NOT NULL,
        since REAL NOT NULL                      -- seconds since 1970
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE sync ADD COLUMN restored INTEGER;      -- ms since 1970: this is a copy of then, and nobody was told yet
    ALTER TABLE sync ADD COLUMN restored_seq INTEGER;  -- the row of the inbox up to which all was over
    """,
    """
    CREATE TABLE repos (                         -- repositories of the forge that a room may use
        room_id TEXT NOT NULL,
        repo TEXT NOT NULL COLLATE NOCASE,       -- owner/name
        added_by TEXT NOT NULL,
        PRIMARY KEY (room_id, repo)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE sync ADD COLUMN way TEXT;              -- of the login: words.Way
    ALTER TABLE sync ADD COLUMN refresh_token TEXT;
    ALTER TABLE sync ADD COLUMN expires_at REAL;       -- of the access token: seconds since 1970
    ALTER TABLE sync ADD COLUMN client_id TEXT;        -- what an authorization server calls us
    """,
    # Turns know whom they answer, so that the inbox may forget it; what a room has spent is summed as it goes.
    """
    CREATE TABLE turns_anew (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation_id INTEGER NOT NULL REFERENCES conversations (id),
        room_id TEXT NOT NULL,                   -- that of the conversation
        inbox_seq INTEGER NOT NULL UNIQUE,       -- of the message that it answers, whose row may be gone
        sender TEXT NOT NULL,                    -- of that message
        event_id TEXT NOT NULL,
        live INTEGER,                            -- outbox id of the live message, whose row may be gone when it ended
        model TEXT NOT NULL,
        stop TEXT,                               -- NULL while it runs
        started REAL NOT NULL,                   -- seconds since 1970
        ended REAL,
        input_tokens INTEGER NOT NULL DEFAULT 0,
        output_tokens INTEGER NOT NULL DEFAULT 0,
        cost REAL                                -- US dollars
    );
    INSERT INTO turns_anew
      SELECT turns.id, conversation_id, conversations.room_id, inbox_seq, sender, event_id, live, model, stop, started,
             ended, input_tokens, output_tokens, cost
      FROM turns JOIN conversations ON conversation_id = conversations.id JOIN inbox ON inbox_seq = seq
      ORDER BY turns.id;
    DROP TABLE turns;
    ALTER TABLE turns_anew RENAME TO turns;
    CREATE INDEX turns_of ON turns (conversation_id, id);
    CREATE INDEX turns_in ON turns (room_id, id);
    CREATE INDEX turns_running ON turns (room_id, id) WHERE stop IS NULL;
    CREATE TABLE spending (
        room_id TEXT PRIMARY KEY,
        turns INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL DEFAULT 0,
        output_tokens INTEGER NOT NULL DEFAULT 0,
        cost REAL                                -- US dollars
    ) WITHOUT ROWID;
    INSERT INTO spending
      SELECT room_id, count(*), sum(input_tokens), sum(output_tokens), sum(cost) FROM turns GROUP BY room_id;
    CREATE INDEX cards_of ON cards (outbox_id);
    CREATE INDEX cards_until ON cards (expires);
    CREATE INDEX audit_at ON audit (at, number);
    """,
    """
    ALTER TABLE cards ADD COLUMN pending INTEGER NOT NULL DEFAULT 0;  -- it is decided, and that is not carried out yet
    ALTER TABLE cards ADD COLUMN decided_seq INTEGER;                 -- the row of the inbox that decided it
    CREATE INDEX cards_pending ON cards (room_id) WHERE pending;
    """,
    """
    CREATE TABLE known (                         -- events whose rows are forgotten, see store/seen_events.py
        event INTEGER PRIMARY KEY,               -- of the event's id, the first eight bytes of its SHA-256
        ours INTEGER NOT NULL                    -- the bot has said it
    );
    CREATE INDEX outbox_edits ON outbox (edits) WHERE edits IS NOT NULL;
    CREATE INDEX outbox_redacts ON outbox (redacts) WHERE redacts IS NOT NULL;
    """,
    """
    CREATE TABLE upgrades (                      -- rooms that another one has replaced
        old TEXT PRIMARY KEY,
        new TEXT NOT NULL,
        tombstone TEXT NOT NULL,                 -- event id
        by TEXT NOT NULL,
        state TEXT NOT NULL,                     -- upgrades.State
        first_unsent INTEGER NOT NULL            -- row of the outbox: those before it had arrived when it was replaced
    ) WITHOUT ROWID;
    CREATE INDEX upgrades_into ON upgrades (new);
    """,
    # Conversations run side by side: each has its own messages that wait, and its own sessions with coding agents.
    """
    ALTER TABLE inbox ADD COLUMN thread TEXT NOT NULL
      GENERATED ALWAYS AS (coalesce(json_extract(body, '$.thread'), '')) VIRTUAL;
    CREATE INDEX inbox_queued ON inbox (room_id, thread, seq) WHERE state = 'queued';
    CREATE TABLE agent_sessions_anew (           -- what a coding agent goes on with
        conversation_id INTEGER NOT NULL REFERENCES conversations (id),
        agent TEXT NOT NULL,
        session TEXT NOT NULL,
        PRIMARY KEY (conversation_id, agent)
    ) WITHOUT ROWID;
    INSERT INTO agent_sessions_anew
      SELECT id, agent, session FROM agent_sessions JOIN conversations USING (room_id) WHERE thread = '';
    DROP TABLE agent_sessions;
    ALTER TABLE agent_sessions_anew RENAME TO agent_sessions;
    """,
    """
    ALTER TABLE inbox ADD COLUMN line TEXT;            -- what it says to a turn that runs
    ALTER TABLE inbox ADD COLUMN turn_id INTEGER;      -- the turn that has taken it in
    CREATE INDEX inbox_lines ON inbox (room_id, thread, seq) WHERE state = 'queued' AND line IS NOT NULL;
    CREATE INDEX inbox_taken ON inbox (turn_id, seq) WHERE turn_id IS NOT NULL;
    """,
    # A card says how it ended, so what it asks is kept with it; and who wanted to know.
    """
    ALTER TABLE cards ADD COLUMN shown TEXT NOT NULL DEFAULT '{}';  -- text, details, and whether it is quiet: JSON
    ALTER TABLE cards ADD COLUMN asker TEXT NOT NULL DEFAULT '';    -- user id
    ALTER TABLE cards ADD COLUMN turn_id INTEGER;                   -- the turn that wants to know
    ALTER TABLE cards ADD COLUMN takes_text INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX cards_open ON cards (room_id, expires) WHERE verdict IS NULL;
    CREATE INDEX cards_due ON cards (expires) WHERE verdict IS NULL;
    """,
    """
    ALTER TABLE cards ADD COLUMN waits INTEGER NOT NULL DEFAULT 0;  -- the turn waits for the answer: it is no prompt
    CREATE INDEX cards_about ON cards (room_id, what, subject);
    ALTER TABLE turns ADD COLUMN plans INTEGER NOT NULL DEFAULT 0;  -- it looks, and changes nothing
    """,
    """
    CREATE TABLE received_files (                -- what people sent into rooms
        id INTEGER PRIMARY KEY,
        event_id TEXT NOT NULL,
        room_id TEXT NOT NULL,
        thread TEXT NOT NULL,                    -- as in conversations
        sender TEXT NOT NULL,
        seq INTEGER NOT NULL,                    -- row of the inbox that waits for it
        sent TEXT NOT NULL,                      -- JSON of a SentFile
        state TEXT NOT NULL DEFAULT 'coming',    -- received_files.FileState
        path TEXT NOT NULL DEFAULT '',           -- in the workspace
        size INTEGER NOT NULL DEFAULT 0,
        picture TEXT NOT NULL DEFAULT '',        -- what a model that sees is shown of it, in the workspace
        turn_id INTEGER,                         -- the newest that was told of it
        UNIQUE (room_id, event_id)
    );
    CREATE INDEX received_files_old ON received_files (seq);
    CREATE INDEX turns_prompt ON turns (event_id);
    CREATE INDEX turns_live ON turns (live);
    CREATE TABLE feedback (                      -- 👍 and 👎 to answers
        turn_id INTEGER NOT NULL,
        room_id TEXT NOT NULL,
        sender TEXT NOT NULL,
        key TEXT NOT NULL,
        event_id TEXT NOT NULL,                  -- of the reaction
        at REAL NOT NULL,                        -- seconds since 1970
        PRIMARY KEY (turn_id, sender, key)
    ) WITHOUT ROWID;
    CREATE INDEX feedback_events ON feedback (event_id);
    CREATE INDEX inbox_held ON inbox (room_id, thread, seq) WHERE state = 'held';  -- until its files are there
    """,
    """
    CREATE TABLE schedules (                     -- what is to be asked in a room later, or again and again
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        room_id TEXT NOT NULL,
        thread TEXT,
        who TEXT NOT NULL,
        task TEXT NOT NULL,
        words TEXT NOT NULL,                     -- when, as it was written
        cron TEXT NOT NULL,                      -- five fields, '' for once
        zone TEXT NOT NULL,
        next REAL,                               -- seconds since 1970; NULL when it is over
        paused INTEGER NOT NULL DEFAULT 0,
        said INTEGER,                            -- row of the outbox that says that it is due, until that is a prompt
        event_id TEXT,                           -- the newest prompt that came of it
        created REAL NOT NULL
    );
    CREATE INDEX schedules_next ON schedules (next) WHERE next IS NOT NULL;
    """,
    """
    CREATE TABLE background_jobs (               -- whose end a conversation is to be told
        room_id TEXT NOT NULL,
        job_id TEXT NOT NULL,
        thread TEXT NOT NULL,                    -- as in conversations
        sender TEXT NOT NULL,                    -- who asked for the turn that began it
        started REAL NOT NULL,                   -- seconds since 1970
        PRIMARY KEY (room_id, job_id)
    ) WITHOUT ROWID;
    ALTER TABLE rooms ADD COLUMN threads INTEGER NOT NULL DEFAULT 0;  -- each task begins one
    """,
    """
    CREATE TABLE mesh_events (                   -- what other daemons say, until it is dealt with
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        event_id TEXT NOT NULL UNIQUE,
        room_id TEXT NOT NULL,
        sender TEXT NOT NULL,
        sent_at INTEGER NOT NULL,                -- ms since 1970
        type TEXT NOT NULL,
        content TEXT NOT NULL,                   -- JSON
        state_key TEXT                           -- of a state event
    );
    CREATE INDEX mesh_events_room ON mesh_events (room_id);
    CREATE TABLE mesh_requests (                 -- what peers ask of this daemon
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        peer TEXT NOT NULL,                      -- its public key, base64
        request TEXT NOT NULL,                   -- the ULID that it gave
        event_id TEXT NOT NULL,
        room_id TEXT NOT NULL,
        sender TEXT NOT NULL,
        method TEXT NOT NULL,
        content TEXT NOT NULL,                   -- the signed request, JSON; '' when it is old
        digest TEXT NOT NULL,                    -- SHA-256, hex
        expires INTEGER NOT NULL,                -- ms since 1970
        state TEXT NOT NULL,                     -- held, accepted, running, done
        outcome TEXT NOT NULL DEFAULT '',        -- of one that is done: result, unknown, or the code of a refusal
        line TEXT NOT NULL DEFAULT '',           -- of the policy, that decided
        decided_by TEXT NOT NULL DEFAULT '',     -- who approved or refused it
        seq INTEGER NOT NULL DEFAULT 0,          -- of the next reply
        chain TEXT NOT NULL DEFAULT '',          -- of the last one
        message INTEGER,                         -- row of the outbox that shows it to people
        card INTEGER,                            -- that asks them
        result TEXT NOT NULL DEFAULT '',         -- body of the last reply, JSON
        came REAL NOT NULL,                      -- seconds since 1970
        ended REAL,
        UNIQUE (peer, request)
    );
    CREATE INDEX mesh_requests_open ON mesh_requests (state) WHERE state != 'done';
    CREATE INDEX mesh_requests_event ON mesh_requests (event_id);
    CREATE INDEX mesh_requests_room ON mesh_requests (room_id);
    """,
    # The floor is above all that was issued before there were these tables: what they forgot is not known to be new.
    """
    CREATE TABLE mesh_peers (                    -- other daemons
        key TEXT PRIMARY KEY,                    -- Ed25519, base64
        mxid TEXT NOT NULL,
        name TEXT NOT NULL,
        state TEXT NOT NULL,                     -- mesh_peers.PeerState
        rooms TEXT,                              -- JSON; NULL for all
        expires INTEGER,                         -- ms since 1970, as all times of the mesh are
        version TEXT NOT NULL,
        methods TEXT NOT NULL,                   -- JSON
        load INTEGER NOT NULL,
        introduced INTEGER,
        introduced_in TEXT,
        changed_by TEXT NOT NULL,
        changed INTEGER NOT NULL,
        successor TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE mesh_nonces (                   -- what was asked, until it may be forgotten
        key TEXT NOT NULL,
        nonce TEXT NOT NULL,
        request TEXT NOT NULL,                   -- ULID
        event_id TEXT NOT NULL,
        expires INTEGER NOT NULL,
        PRIMARY KEY (key, nonce),
        UNIQUE (key, request)
    ) WITHOUT ROWID;
    CREATE INDEX mesh_nonces_expire ON mesh_nonces (expires);
    CREATE TABLE mesh_counts (
        key TEXT PRIMARY KEY,
        nonces INTEGER NOT NULL                  -- rows of this key
    ) WITHOUT ROWID;
    CREATE TABLE mesh_floor (
        issued INTEGER NOT NULL,                 -- what was issued up to then is refused
        forgotten INTEGER NOT NULL               -- what has expired by then may have been forgotten
    );
    INSERT INTO mesh_floor VALUES (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) + 30000, 0);
    """,
    """
    CREATE TABLE room_settings (                 -- what operators set for a room alone
        room_id TEXT NOT NULL,
        name TEXT NOT NULL,                      -- such as memory, setup, env.DEBUG
        value TEXT NOT NULL,                     -- as it was checked when it was set
        PRIMARY KEY (room_id, name)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE tokens_spent (                  -- of the last days, by whatever model
        room_id TEXT NOT NULL,
        quarter INTEGER NOT NULL,                -- of an hour, since 1970
        tokens INTEGER NOT NULL,
        PRIMARY KEY (room_id, quarter)
    ) WITHOUT ROWID;
    ALTER TABLE turns ADD COLUMN cached_tokens INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE spending ADD COLUMN cached_tokens INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE agent_usage ADD COLUMN cached_tokens INTEGER NOT NULL DEFAULT 0;
    """,
    """
    CREATE TABLE mesh_asked (                    -- what this daemon asks of peers
        id TEXT PRIMARY KEY,                     -- the request's ULID
        room_id TEXT NOT NULL,
        peer TEXT NOT NULL,                      -- its public key
        peer_user TEXT NOT NULL,
        peer_name TEXT NOT NULL,
        origin TEXT NOT NULL,                    -- our public key
        method TEXT NOT NULL,
        params TEXT NOT NULL,                    -- JSON
        digest TEXT NOT NULL,                    -- of the request, SHA-256, hex
        who TEXT NOT NULL,
        subject TEXT NOT NULL,                   -- what it was asked for, '' where nobody looks for it
        shown INTEGER NOT NULL,
        chain TEXT NOT NULL,                     -- of the newest piece of the reply
        seconds REAL NOT NULL,                   -- how long it may run there
        until REAL NOT NULL,                     -- seconds since 1970: when it is given up
        asked REAL NOT NULL,
        state TEXT NOT NULL,                     -- sent, held, running, done
        seq INTEGER NOT NULL,                    -- of the next piece
        sent_seq INTEGER NOT NULL,               -- of the next input
        sent_chain TEXT NOT NULL,
        row INTEGER NOT NULL,                    -- of the outbox: the request
        message INTEGER,                         -- of the outbox: what people see of it
        result TEXT,                             -- the last body, JSON
        ended REAL
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX mesh_asked_subject ON mesh_asked (subject) WHERE subject != '';
    CREATE INDEX mesh_asked_open ON mesh_asked (until) WHERE state != 'done';
    CREATE TABLE mesh_answers (                  -- pieces of replies, verified
        request TEXT NOT NULL,
        seq INTEGER NOT NULL,
        chain TEXT NOT NULL,
        body TEXT NOT NULL,                      -- JSON
        PRIMARY KEY (request, seq)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE cards ADD COLUMN behind INTEGER; -- the newest row of the inbox when it came; NULL: it is not there yet
    UPDATE cards SET behind = 0
      WHERE verdict IS NULL AND outbox_id IN (SELECT id FROM outbox WHERE event_id IS NOT NULL);
    """,
    """
    ALTER TABLE outbox ADD COLUMN state_key TEXT;  -- of a state event
    """,
    """
    CREATE TABLE power_cut (
        boot TEXT NOT NULL,                      -- of the host, when the database was opened last
        at INTEGER NOT NULL                      -- ms since 1970: it started then after a power cut; 0 for never
    );
    """,
    """
    CREATE TABLE marks (
        at REAL NOT NULL,                        -- seconds since 1970
        inbox INTEGER NOT NULL,                  -- the newest row there was then
        outbox INTEGER NOT NULL,
        ipc INTEGER NOT NULL
    );
    -- Turns know of their rows how old they are.
    INSERT INTO marks SELECT max(ended), max(inbox_seq), coalesce(max(live), 0),
        coalesce((SELECT max(id) FROM ipc WHERE turn_id <= max(turns.id)), 0)
      FROM turns WHERE ended IS NOT NULL GROUP BY CAST(ended / 86400 AS INTEGER);
    """,
)

UNDO: Mapping[int, str] = {
    # The release before cannot read results and what hooks report with more in them than it knows. It has one
    # session of a room with an agent, and takes one turn up again at a start, the oldest.
    16: """
    UPDATE steps SET body = json_object('call_id', body -> '$.call_id', 'text', body -> '$.text',
                                        'ok', body -> '$.ok', 'title', body -> '$.title')
      WHERE kind = 'ToolResult' AND EXISTS (
        SELECT 1 FROM json_each(body) WHERE key NOT IN ('call_id', 'text', 'ok', 'title')
      );
    UPDATE steps SET body = json_remove(body, '$.thought') WHERE kind = 'Answer' AND body -> '$.thought' IS NOT NULL;
    UPDATE ipc SET body = json_remove(body, '$.turn') WHERE body -> '$.turn' IS NOT NULL;
    DROP INDEX inbox_queued;
    ALTER TABLE inbox DROP COLUMN thread;
    CREATE TABLE agent_sessions_before (
        room_id TEXT NOT NULL,
        agent TEXT NOT NULL,
        session TEXT NOT NULL,
        PRIMARY KEY (room_id, agent)
    ) WITHOUT ROWID;
    INSERT INTO agent_sessions_before
      SELECT room_id, agent, session FROM agent_sessions JOIN conversations ON id = conversation_id WHERE thread = '';
    DROP TABLE agent_sessions;
    ALTER TABLE agent_sessions_before RENAME TO agent_sessions;
    CREATE TEMP TABLE ending AS
      SELECT turns.id, turns.room_id, thread, event_id, live,
             '⏹ Stopped: I am an earlier release again, which works on one thing in a room at a time. '
             || 'Say it once more.' AS said
      FROM turns JOIN conversations ON conversations.id = conversation_id
      WHERE stop IS NULL AND turns.id NOT IN (SELECT min(id) FROM turns WHERE stop IS NULL GROUP BY room_id);
    INSERT INTO outbox (room_id, rank, txn_id, event_type, content, edits)
      SELECT room_id, 1, 'roommate-' || lower(hex(randomblob(12))), 'm.room.message',
             json_patch(
               json_object('msgtype', 'm.text', 'body', said, 'm.mentions', json('{}'),
                           'io.roommate.turn', json_object('id', id, 'prompt', event_id, 'state', 'stopped')),
               CASE WHEN live IS NULL AND thread != ''
                    THEN json_object('m.relates_to', json_object('rel_type', 'm.thread', 'event_id', thread))
                    ELSE '{}' END),
             live
      FROM ending;
    INSERT INTO steps (turn_id, kind, body)
      SELECT id, 'Answer', json_object('text', said, 'calls', json('[]')) FROM ending;
    UPDATE turns SET stop = 'stopped', ended = unixepoch() WHERE id IN (SELECT id FROM ending);
    DROP TABLE ending;
    """,
    17: """
    UPDATE inbox SET body = json_set(body, '$.text', line) WHERE state != 'done' AND line IS NOT NULL;
    DROP INDEX inbox_lines;
    DROP INDEX inbox_taken;
    ALTER TABLE inbox DROP COLUMN line;
    ALTER TABLE inbox DROP COLUMN turn_id;
    """,
    18: """
    DROP INDEX cards_open;
    DROP INDEX cards_due;
    ALTER TABLE cards DROP COLUMN shown;
    ALTER TABLE cards DROP COLUMN asker;
    ALTER TABLE cards DROP COLUMN turn_id;
    ALTER TABLE cards DROP COLUMN takes_text;
    """,
    19: """
    DROP INDEX cards_about;
    ALTER TABLE cards DROP COLUMN waits;
    ALTER TABLE turns DROP COLUMN plans;
    """,
    # The release before says of a file that waits that it does not read files.
    20: """
    UPDATE inbox SET state = 'new' WHERE state = 'held';
    DROP INDEX inbox_held;
    DROP INDEX turns_prompt;
    DROP INDEX turns_live;
    DROP TABLE feedback;
    DROP TABLE received_files;
    DELETE FROM inbox WHERE kind = 'Edit';
    """,
    21: "DROP TABLE schedules;",
    22: """
    DROP TABLE background_jobs;
    ALTER TABLE rooms DROP COLUMN threads;
    """,
    23: """
    DROP TABLE mesh_events;
    DROP TABLE mesh_requests;
    """,
    24: """
    DROP TABLE mesh_peers;
    DROP TABLE mesh_nonces;
    DROP TABLE mesh_counts;
    DROP TABLE mesh_floor;
    """,
    25: "DROP TABLE room_settings;",
    26: """
    DROP TABLE tokens_spent;
    ALTER TABLE turns DROP COLUMN cached_tokens;
    ALTER TABLE spending DROP COLUMN cached_tokens;
    ALTER TABLE agent_usage DROP COLUMN cached_tokens;
    """,
    27: """
    DROP TABLE mesh_answers;
    DROP TABLE mesh_asked;
    """,
    28: "ALTER TABLE cards DROP COLUMN behind;",
    29: """
    ALTER TABLE outbox DROP COLUMN state_key;
    """,
    30: "DROP TABLE power_cut;",
    31: "DROP TABLE marks;",
}
"""What makes a step as if it had not been, so that the release before it can go on. One that has none is final."""


def undo(connection: sqlite3.Connection, version: int) -> None:
    """Give a file the shape of an earlier version, if it has a later one. Raises StateError where a step is final."""
    [now] = connection.execute("PRAGMA user_version").fetchone()
    steps = range(now, version, -1)
    if final := [number for number in steps if number not in UNDO]:
        raise StateError(
            f"the database is of version {now}, that release knows up to {version}, "
            f"and what step {final[0]} did cannot be undone"
        )
    for number in steps:
        connection.executescript(f"BEGIN IMMEDIATE; {UNDO[number]}; PRAGMA user_version = {number - 1}; COMMIT;")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file up to date, each step in a transaction of its own. Raises StateError for a newer file.

    Foreign keys are not to be watched meanwhile: a table that is made anew is away for a moment.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(STEPS):
        raise StateError(
            f"the database is of version {version}, this Roommate knows up to {len(STEPS)}: "
            "install the newer Roommate again"
        )
    for number, script in enumerate(STEPS[version:], start=version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")
