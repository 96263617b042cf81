-- What a daemon of 2026-11-21 had in its database, with two turns on their way; names and ids are made up since.
PRAGMA user_version = 15;
CREATE TABLE agent_sessions (                -- what a coding agent goes on with
        room_id TEXT NOT NULL,
        agent TEXT NOT NULL,
        session TEXT NOT NULL,
        PRIMARY KEY (room_id, agent)
    ) WITHOUT ROWID;
INSERT INTO "agent_sessions" VALUES('!work:example.org','gemini','a-session-of-gemini');
CREATE TABLE agent_usage (                   -- what coding agents use through the model gateway
        room_id TEXT NOT NULL,
        agent TEXT NOT NULL,
        model TEXT NOT NULL,
        requests INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        PRIMARY KEY (room_id, agent, model)
    ) WITHOUT ROWID;
INSERT INTO "agent_usage" VALUES('!work:example.org','gemini','flash',3,1200,34);
CREATE TABLE agents_preferred (              -- which coding agents a room asks first
        room_id TEXT NOT NULL,
        role TEXT NOT NULL,                      -- plan, implement
        agents TEXT NOT NULL,                    -- names, with a space between them
        PRIMARY KEY (room_id, role)
    ) WITHOUT ROWID;
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
INSERT INTO "audit" VALUES(1,1795309998415,'@ann:example.org','$event-1:example.org','invite','done','!work:example.org','','',X'AA2E326C23B4227895373D4D156E97F4A49A5B3407CECFB6E25B333385C42D4D');
INSERT INTO "audit" VALUES(2,1795309998818,'@ann:example.org','$event-3:example.org','invite','done','!paused:example.org','','',X'861998F71DBAA857C88CF8A3FBDC98F08EC8F16B813B0CEF4BAE3FAFC486A692');
INSERT INTO "audit" VALUES(3,1795309999169,'@ann:example.org','$event-5:example.org','invite','done','!flying:example.org','','',X'72AB5F844FF32924F3ADA166A2EFE546030D25F15E6548D0915CB5BB742B6957');
INSERT INTO "audit" VALUES(4,1795309999417,'@ann:example.org','$event-7:example.org','invite','done','!ops:example.org','','',X'E0A1E6FCC74FF20D67FFAC217828A4CF8F670C041696BA90ED560E6CDE3E5530');
INSERT INTO "audit" VALUES(5,1795309999552,'@ann:example.org','$event-9:example.org','turn','done','!work:example.org','turn 1','',X'1B2256035EF5EC7F50A2698D115AEF8293BC37D1610034D74AA38BD48B6A5147');
INSERT INTO "audit" VALUES(6,1795310004547,'@ann:example.org','$event-10:example.org','turn','done','!work:example.org','turn 2','',X'B151B885F7862234B262657984F214F392FBAF33D5F9F9F544C1802DF9C80A19');
INSERT INTO "audit" VALUES(7,1795310004655,'@ann:example.org','$event-11:example.org','turn','done','!work:example.org','turn 3','',X'22B7FC33C30CC4CDB4E78690FA85D2C178C260BE742E277E6B42CF7C9F906F8B');
INSERT INTO "audit" VALUES(8,1795310004754,'@ann:example.org','$event-12:example.org','egress.add','done','!work:example.org','three.invalid:8443','',X'3BF999EF76142D7F35E3A24B0744572C5B48CA9B5A8A96E9709DA589E8B86746');
INSERT INTO "audit" VALUES(9,1795310004890,'@ann:example.org','$event-13:example.org','repo.add','done','!work:example.org','acme/widget','',X'8F29D75B6D44AF136636A08AD2910420DA23BDB040B0D40AD4C3F3E82FBDAAF3');
INSERT INTO "audit" VALUES(10,1795310005009,'@ann:example.org','$event-14:example.org','prompt','done','!work:example.org','9 characters','',X'F4417AE156231B4327A4510935142ECADEAF5DCFA6E6FFA6D2097BE8C34C0698');
INSERT INTO "audit" VALUES(11,1795310005133,'@ann:example.org','$event-15:example.org','model','done','!work:example.org','openai/other','',X'D12E1ED5A72DCA449CFA2ADF4F17DE499B4FB80718B66BFE3AD5EF5471C5DB0F');
INSERT INTO "audit" VALUES(12,1795310005238,'@ann:example.org','$event-16:example.org','model','done','!work:example.org','default','',X'E23303ED273621347579191D6C7609CB4E46FC3EAF517B85C91D92B2C8ED135D');
INSERT INTO "audit" VALUES(13,1795310005352,'@ann:example.org','$event-17:example.org','turn','done','!work:example.org','turn 4','',X'C07CC5EA98D4ED336B676C9BB23CD693175C20550B58F8517A86A557834BF194');
INSERT INTO "audit" VALUES(14,1795310006147,'@ann:example.org','$event-18:example.org','turn','done','!work:example.org','turn 5','',X'3DAFC6C088D2091C41FDA5386C239625DDCF9E4C4F829187E71A0D720D56185A');
INSERT INTO "audit" VALUES(15,1795310007265,'@ann:example.org','$event-20:example.org','turn','done','!flying:example.org','turn 6','',X'92F160CD926274E8C23C04F46B31593F8C7E47770FEF5ACADD48859DD19AD9B8');
INSERT INTO "audit" VALUES(16,1795310007604,'@ann:example.org','$event-22:example.org','turn','done','!ops:example.org','turn 7','',X'81BF529C55CD55CAD00345EF9A03B871B9A711BA7B8078ED5C27BBEE25B3A80B');
INSERT INTO "audit" VALUES(17,1795310008008,'@ann:example.org','$event-23:example.org','pause','done','!paused:example.org','','',X'65FBC47AEB717BAFF4825C8D20222C8AE7129C08EB4C7138D6F6631A3B4178FB');
INSERT INTO "audit" VALUES(18,1795310010818,'@ann:example.org','$event-25:example.org','redeploy.ask','done','!work:example.org','cccccccccccccccccccccccccccccccccccccccc','',X'FF4675770AF920114BF49D7615BD1793C7D889F00E23B16280E531C4E3663238');
INSERT INTO "audit" VALUES(19,1795310012665,'uid 0','socket','backup','done',NULL,'/var/lib/roommate/backups/roommate-20261122T011332Z.tar.gz','',X'634B46E9B20AD21F665C018F6ED4B24713C1B8F0E6E97A5579403EF4AEB5E185');
CREATE TABLE audit_anchor (                  -- the newest row that is forgotten: the chain begins behind it
        id INTEGER PRIMARY KEY CHECK (id = 1),
        number INTEGER NOT NULL,
        hash BLOB NOT NULL
    );
INSERT INTO "audit_anchor" VALUES(1,0,X'0000000000000000000000000000000000000000000000000000000000000000');
CREATE TABLE cards (
        id INTEGER PRIMARY KEY,
        room_id TEXT NOT NULL,
        outbox_id INTEGER NOT NULL REFERENCES outbox (id),
        what TEXT NOT NULL,                      -- what is asked, such as reset-workspace
        verdict TEXT,                            -- NULL while it is open
        decided_by TEXT,
        expires REAL NOT NULL                    -- seconds since 1970
    , thread TEXT, subject TEXT NOT NULL DEFAULT '', choices TEXT NOT NULL DEFAULT '✅ ❌', operators_only INTEGER NOT NULL DEFAULT 0, pending INTEGER NOT NULL DEFAULT 0, decided_seq INTEGER);
INSERT INTO "cards" VALUES(1,'!work:example.org',14,'hook',NULL,NULL,1.79531029540555930141e+09,NULL,'172872cdcee0d8593a058733 push: git push','✅ ♾ ❌',0,0,NULL);
INSERT INTO "cards" VALUES(2,'!work:example.org',19,'egress',NULL,NULL,1.79531360682186746599e+09,NULL,'one.invalid:80','✅ ♾ ❌',0,0,NULL);
INSERT INTO "cards" VALUES(3,'!work:example.org',20,'reset-workspace',NULL,NULL,1.79531360709990978237e+09,NULL,'','✅ ❌',0,0,NULL);
INSERT INTO "cards" VALUES(4,'!work:example.org',27,'redeploy',NULL,NULL,1.79531361081835103034e+09,NULL,'cccccccccccccccccccccccccccccccccccccccc','✅ ❌',1,0,NULL);
CREATE TABLE conversations (
        id INTEGER PRIMARY KEY,
        room_id TEXT NOT NULL,
        thread TEXT NOT NULL,                    -- event id of the thread's root, '' for the room itself
        cleared INTEGER NOT NULL DEFAULT 0,      -- turns up to this one are forgotten (!reset)
        UNIQUE (room_id, thread)
    );
INSERT INTO "conversations" VALUES(1,'!work:example.org','',0);
INSERT INTO "conversations" VALUES(2,'!work:example.org','$event-10:example.org',0);
INSERT INTO "conversations" VALUES(3,'!flying:example.org','',0);
INSERT INTO "conversations" VALUES(4,'!ops:example.org','',0);
CREATE TABLE egress (                        -- where a room may connect to, besides its presets
        room_id TEXT NOT NULL,
        host TEXT NOT NULL,
        port INTEGER NOT NULL,                   -- 0: 80 and 443
        added_by TEXT NOT NULL,
        PRIMARY KEY (room_id, host, port)
    ) WITHOUT ROWID;
INSERT INTO "egress" VALUES('!work:example.org','three.invalid',8443,'@ann:example.org');
CREATE TABLE egress_presets (
        room_id TEXT PRIMARY KEY,
        presets TEXT NOT NULL                    -- names, with a space between them
    ) WITHOUT ROWID;
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
INSERT INTO "inbox" VALUES(1,'$event-1:example.org','!work:example.org','@ann:example.org',0,'Invite','{}','done');
INSERT INTO "inbox" VALUES(2,'$event-2:example.org','!work:example.org','@bot:example.org',1795309998342,'Arrived','{}','done');
INSERT INTO "inbox" VALUES(3,'$event-3:example.org','!paused:example.org','@ann:example.org',0,'Invite','{}','done');
INSERT INTO "inbox" VALUES(4,'$event-4:example.org','!paused:example.org','@bot:example.org',1795309998758,'Arrived','{}','done');
INSERT INTO "inbox" VALUES(5,'$event-5:example.org','!flying:example.org','@ann:example.org',0,'Invite','{}','done');
INSERT INTO "inbox" VALUES(6,'$event-6:example.org','!flying:example.org','@bot:example.org',1795309999123,'Arrived','{}','done');
INSERT INTO "inbox" VALUES(7,'$event-7:example.org','!ops:example.org','@ann:example.org',0,'Invite','{}','done');
INSERT INTO "inbox" VALUES(8,'$event-8:example.org','!ops:example.org','@bot:example.org',1795309999372,'Arrived','{}','done');
INSERT INTO "inbox" VALUES(9,'$event-9:example.org','!work:example.org','@ann:example.org',1795309999456,'Message','{"text":"TOOL write_file {\"path\": \"a.txt\", \"content\": \"kept\"}\n---\nSAY written","thread":null,"reply_to":null,"mentions":[],"attachment":null}','done');
INSERT INTO "inbox" VALUES(10,'$event-10:example.org','!work:example.org','@ann:example.org',1795310004502,'Message','{"text":"SAY thread-root","thread":null,"reply_to":null,"mentions":[],"attachment":null}','done');
INSERT INTO "inbox" VALUES(11,'$event-11:example.org','!work:example.org','@ann:example.org',1795310004619,'Message','{"text":"SAY in-the-thread","thread":"$event-10:example.org","reply_to":null,"mentions":[],"attachment":null}','done');
INSERT INTO "inbox" VALUES(12,'$event-12:example.org','!work:example.org','@ann:example.org',1795310004722,'Message','{"text":"!egress add three.invalid:8443","thread":null,"reply_to":null,"mentions":[],"attachment":null}','done');
INSERT INTO "inbox" VALUES(13,'$event-13:example.org','!work:example.org','@ann:example.org',1795310004805,'Message','{"text":"!repo add acme/widget","thread":null,"reply_to":null,"mentions":[],"attachment":null}','done');
INSERT INTO "inbox" VALUES(14,'$event-14:example.org','!work:example.org','@ann:example.org',1795310004947,'Message','{"text":"!prompt Be brief.","thread":null,"reply_to":null,"mentions":[],"attachment":null}','done');
INSERT INTO "inbox" VALUES(15,'$event-15:example.org','!work:example.org','@ann:example.org',1795310005083,'Message','{"text":"!model openai/other","thread":null,"reply_to":null,"mentions":[],"attachment":null}','done');
INSERT INTO "inbox" VALUES(16,'$event-16:example.org','!work:example.org','@ann:example.org',1795310005196,'Message','{"text":"!model default","thread":null,"reply_to":null,"mentions":[],"attachment":null}','done');
INSERT INTO "inbox" VALUES(17,'$event-17:example.org','!work:example.org','@ann:example.org',1795310005300,'Message','{"text":"TOOL run_command {\"command\": \"(printf %s ''{\\\"tool_name\\\": \\\"run_shell_command\\\", \\\"tool_input\\\": {\\\"command\\\": \\\"git push\\\"}}'' | /run/hooks/wrapper gemini before-tool) > /workspace/hook.txt 2>&1; sleep 1\", \"background\": true}\n---\nSAY started","thread":null,"reply_to":null,"mentions":[],"attachment":null}','done');
INSERT INTO "inbox" VALUES(18,'$event-18:example.org','!work:example.org','@ann:example.org',1795310006108,'Message','{"text":"TOOL run_command {\"command\": \"curl -sS http://one.invalid/ > /workspace/curl.txt 2>&1\", \"background\": true}\n---\nSAY started","thread":null,"reply_to":null,"mentions":[],"attachment":null}','done');
INSERT INTO "inbox" VALUES(19,'$event-19:example.org','!work:example.org','@ann:example.org',1795310007030,'Message','{"text":"!reset workspace","thread":null,"reply_to":null,"mentions":[],"attachment":null}','done');
INSERT INTO "inbox" VALUES(20,'$event-20:example.org','!flying:example.org','@ann:example.org',1795310007204,'Message','{"text":"HOLD model\nSAY flown-model","thread":null,"reply_to":null,"mentions":[],"attachment":null}','done');
INSERT INTO "inbox" VALUES(21,'$event-21:example.org','!flying:example.org','@ann:example.org',1795310007320,'Message','{"text":"SAY waited-behind","thread":null,"reply_to":null,"mentions":[],"attachment":null}','queued');
INSERT INTO "inbox" VALUES(22,'$event-22:example.org','!ops:example.org','@ann:example.org',1795310007412,'Message','{"text":"TOOL run_command {\"command\": \"until [ -e go ]; do sleep 0.1; done; echo went\"}\n---\nSAY flown-tool","thread":null,"reply_to":null,"mentions":[],"attachment":null}','done');
INSERT INTO "inbox" VALUES(23,'$event-23:example.org','!paused:example.org','@ann:example.org',1795310007888,'Message','{"text":"!pause","thread":null,"reply_to":null,"mentions":[],"attachment":null}','done');
INSERT INTO "inbox" VALUES(24,'$event-24:example.org','!paused:example.org','@ann:example.org',1795310008208,'Message','{"text":"SAY held-answer","thread":null,"reply_to":null,"mentions":[],"attachment":null}','queued');
INSERT INTO "inbox" VALUES(25,'$event-25:example.org','!work:example.org','@ann:example.org',1795310009869,'Message','{"text":"!redeploy","thread":null,"reply_to":null,"mentions":[],"attachment":null}','done');
CREATE TABLE ipc (
        id INTEGER PRIMARY KEY,
        room_id TEXT NOT NULL,
        name TEXT NOT NULL,                      -- of the file: it is read once, whatever crashes
        body TEXT NOT NULL,                      -- JSON
        state TEXT NOT NULL DEFAULT 'new',       -- new, done (people see it, or need not)
        turn_id INTEGER REFERENCES turns (id),   -- the turn whose message shows it
        UNIQUE (room_id, name)
    );
INSERT INTO "ipc" VALUES(1,'!work:example.org','01795310005395851018-13-event-progress-00da6495.json','{"kind":"event-progress","agent":"gemini","session":"","tool":"run_shell_command","summary":"git push","ok":null,"seconds":null,"exit_code":null,"text":"","asks":"","command":""}','done',4);
INSERT INTO "ipc" VALUES(2,'!work:example.org','01795310005396305522-13-approval-request-f7c2cab6.json','{"kind":"approval-request","agent":"gemini","session":"","tool":"run_shell_command","summary":"git push","ok":null,"seconds":null,"exit_code":null,"text":"push","asks":"172872cdcee0d8593a058733","command":"git push"}','done',4);
CREATE TABLE known (                         -- events whose rows are forgotten, see store/known.py
        event INTEGER PRIMARY KEY,               -- of the event's id, the first eight bytes of its SHA-256
        ours INTEGER NOT NULL                    -- the bot has said it
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
INSERT INTO "outbox" VALUES(1,'!work:example.org',1,'roommate-26',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-27:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(2,'!paused:example.org',1,'roommate-28',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-29:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(3,'!flying:example.org',1,'roommate-30',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-31:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(4,'!ops:example.org',1,'roommate-32',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-33:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(5,'!work:example.org',2,'roommate-34',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-35:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(6,'!work:example.org',1,'roommate-36',NULL,'m.room.message','{}',5,NULL,NULL,'$event-37:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(7,'!work:example.org',1,'roommate-38',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-39:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(8,'!work:example.org',1,'roommate-40',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-41:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(9,'!work:example.org',1,'roommate-42',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-43:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(10,'!work:example.org',1,'roommate-44',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-45:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(11,'!work:example.org',1,'roommate-46',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-47:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(12,'!work:example.org',1,'roommate-48',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-49:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(13,'!work:example.org',1,'roommate-50',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-51:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(14,'!work:example.org',0,'roommate-52',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-53:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(15,'!work:example.org',2,'roommate-54',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-55:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(16,'!work:example.org',1,'roommate-56',NULL,'m.room.message','{}',15,NULL,NULL,'$event-57:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(17,'!work:example.org',2,'roommate-58',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-59:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(18,'!work:example.org',1,'roommate-60',NULL,'m.room.message','{}',17,NULL,NULL,'$event-61:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(19,'!work:example.org',0,'roommate-62',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-63:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(20,'!work:example.org',0,'roommate-64',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-65:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(21,'!flying:example.org',2,'roommate-66',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-67:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(22,'!flying:example.org',2,'roommate-68','queued:21','m.reaction','{}',NULL,NULL,NULL,'$event-69:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(23,'!ops:example.org',2,'roommate-70',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-71:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(24,'!paused:example.org',1,'roommate-72',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-73:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(25,'!paused:example.org',2,'roommate-74','queued:24','m.reaction','{}',NULL,NULL,NULL,'$event-75:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(26,'!paused:example.org',1,'roommate-76','paused:!paused:example.org:1795310008.0080168','m.room.message','{}',NULL,NULL,NULL,'$event-77:example.org',NULL,'sent');
INSERT INTO "outbox" VALUES(27,'!work:example.org',0,'roommate-78',NULL,'m.room.message','{}',NULL,NULL,NULL,'$event-79:example.org',NULL,'sent');
CREATE TABLE pauses (
        room_id TEXT PRIMARY KEY,                -- '' for all rooms
        by TEXT NOT NULL,
        since REAL NOT NULL                      -- seconds since 1970
    ) WITHOUT ROWID;
INSERT INTO "pauses" VALUES('!paused:example.org','@ann:example.org',1.79531000800801682475e+09);
CREATE TABLE repos (                         -- repositories of the forge that a room may use
        room_id TEXT NOT NULL,
        repo TEXT NOT NULL COLLATE NOCASE,       -- owner/name
        added_by TEXT NOT NULL,
        PRIMARY KEY (room_id, repo)
    ) WITHOUT ROWID;
INSERT INTO "repos" VALUES('!work:example.org','acme/widget','@ann:example.org');
CREATE TABLE rooms (
        room_id TEXT PRIMARY KEY,
        membership TEXT NOT NULL,                -- join, invite, leave
        joined INTEGER NOT NULL DEFAULT 0,       -- members, the bot included
        encrypted INTEGER NOT NULL DEFAULT 0,
        name TEXT,
        model TEXT                               -- chosen with !model
    , prompt TEXT);
INSERT INTO "rooms" VALUES('!work:example.org','join',2,0,'Work',NULL,'Be brief.');
INSERT INTO "rooms" VALUES('!paused:example.org','join',2,0,'Paused',NULL,NULL);
INSERT INTO "rooms" VALUES('!flying:example.org','join',2,0,'Flying',NULL,NULL);
INSERT INTO "rooms" VALUES('!ops:example.org','join',2,0,'Ops',NULL,NULL);
CREATE TABLE spending (
        room_id TEXT PRIMARY KEY,
        turns INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL DEFAULT 0,
        output_tokens INTEGER NOT NULL DEFAULT 0,
        cost REAL                                -- US dollars
    ) WITHOUT ROWID;
INSERT INTO "spending" VALUES('!flying:example.org',1,0,0,NULL);
INSERT INTO "spending" VALUES('!ops:example.org',1,368,16,NULL);
INSERT INTO "spending" VALUES('!work:example.org',5,4544,99,NULL);
CREATE TABLE steps (
        id INTEGER PRIMARY KEY,
        turn_id INTEGER NOT NULL REFERENCES turns (id),
        kind TEXT NOT NULL,
        body TEXT NOT NULL                       -- JSON
    );
INSERT INTO "steps" VALUES(1,1,'Prompt','{"text":"TOOL write_file {\"path\": \"a.txt\", \"content\": \"kept\"}\n---\nSAY written","sender":"@ann:example.org"}');
INSERT INTO "steps" VALUES(2,1,'Answer','{"text":"","calls":[{"id":"call_80","name":"write_file","arguments":"{\"path\": \"a.txt\", \"content\": \"kept\"}"}]}');
INSERT INTO "steps" VALUES(3,1,'ToolResult','{"call_id":"call_80","text":"wrote a.txt: 1 line, 4 B","ok":true,"title":"1 line, 4 B"}');
INSERT INTO "steps" VALUES(4,1,'Answer','{"text":"written","calls":[]}');
INSERT INTO "steps" VALUES(5,2,'Prompt','{"text":"SAY thread-root","sender":"@ann:example.org"}');
INSERT INTO "steps" VALUES(6,2,'Answer','{"text":"thread-root","calls":[]}');
INSERT INTO "steps" VALUES(7,3,'Prompt','{"text":"SAY in-the-thread","sender":"@ann:example.org"}');
INSERT INTO "steps" VALUES(8,3,'Answer','{"text":"in-the-thread","calls":[]}');
INSERT INTO "steps" VALUES(9,4,'Prompt','{"text":"TOOL run_command {\"command\": \"(printf %s ''{\\\"tool_name\\\": \\\"run_shell_command\\\", \\\"tool_input\\\": {\\\"command\\\": \\\"git push\\\"}}'' | /run/hooks/wrapper gemini before-tool) > /workspace/hook.txt 2>&1; sleep 1\", \"background\": true}\n---\nSAY started","sender":"@ann:example.org"}');
INSERT INTO "steps" VALUES(10,4,'Answer','{"text":"","calls":[{"id":"call_81","name":"run_command","arguments":"{\"command\": \"(printf %s ''{\\\"tool_name\\\": \\\"run_shell_command\\\", \\\"tool_input\\\": {\\\"command\\\": \\\"git push\\\"}}'' | /run/hooks/wrapper gemini before-tool) > /workspace/hook.txt 2>&1; sleep 1\", \"background\": true}"}]}');
INSERT INTO "steps" VALUES(11,4,'ToolResult','{"call_id":"call_81","text":"(no output)\n[runs in the background with id 1; see its output with read_background, end it with stop_background]","ok":true,"title":"in the background, id 1"}');
INSERT INTO "steps" VALUES(12,4,'Answer','{"text":"started","calls":[]}');
INSERT INTO "steps" VALUES(13,5,'Prompt','{"text":"TOOL run_command {\"command\": \"curl -sS http://one.invalid/ > /workspace/curl.txt 2>&1\", \"background\": true}\n---\nSAY started","sender":"@ann:example.org"}');
INSERT INTO "steps" VALUES(14,5,'Answer','{"text":"","calls":[{"id":"call_82","name":"run_command","arguments":"{\"command\": \"curl -sS http://one.invalid/ > /workspace/curl.txt 2>&1\", \"background\": true}"}]}');
INSERT INTO "steps" VALUES(15,5,'ToolResult','{"call_id":"call_82","text":"(no output)\n[runs in the background with id 2; see its output with read_background, end it with stop_background]","ok":true,"title":"in the background, id 2"}');
INSERT INTO "steps" VALUES(16,5,'Answer','{"text":"started","calls":[]}');
INSERT INTO "steps" VALUES(17,6,'Prompt','{"text":"HOLD model\nSAY flown-model","sender":"@ann:example.org"}');
INSERT INTO "steps" VALUES(18,7,'Prompt','{"text":"TOOL run_command {\"command\": \"until [ -e go ]; do sleep 0.1; done; echo went\"}\n---\nSAY flown-tool","sender":"@ann:example.org"}');
INSERT INTO "steps" VALUES(19,7,'Answer','{"text":"","calls":[{"id":"call_83","name":"run_command","arguments":"{\"command\": \"until [ -e go ]; do sleep 0.1; done; echo went\"}"}]}');
CREATE TABLE sync (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        since TEXT,
        pace REAL NOT NULL DEFAULT 0,            -- seconds per event that the homeserver's 429s taught us
        homeserver TEXT, user_id TEXT, device_id TEXT, access_token TEXT
    , restored INTEGER, restored_seq INTEGER, way TEXT, refresh_token TEXT, expires_at REAL, client_id TEXT);
INSERT INTO "sync" VALUES(1,'s84_1_8_1_1_1_1_6_0_1_1_1_1_1',0.0,'https://matrix.example.org','@bot:example.org','A-DEVICE','a-token',NULL,NULL,'password','',NULL,'');
CREATE TABLE "turns" (
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
INSERT INTO "turns" VALUES(1,1,'!work:example.org',9,'@ann:example.org','$event-9:example.org',5,'openai/scripted','done',1.79530999955189156532e+09,1.7953100044235372543e+09,802,12,NULL);
INSERT INTO "turns" VALUES(2,1,'!work:example.org',10,'@ann:example.org','$event-10:example.org',NULL,'openai/scripted','done',1.7953100045474412441e+09,1.79531000456379222869e+09,464,3,NULL);
INSERT INTO "turns" VALUES(3,2,'!work:example.org',11,'@ann:example.org','$event-11:example.org',NULL,'openai/scripted','done',1.79531000465560245512e+09,1.7953100046703381539e+09,346,4,NULL);
INSERT INTO "turns" VALUES(4,1,'!work:example.org',17,'@ann:example.org','$event-17:example.org',15,'openai/scripted','done',1.79531000535217308993e+09,1.79531000593011498449e+09,1281,55,NULL);
INSERT INTO "turns" VALUES(5,1,'!work:example.org',18,'@ann:example.org','$event-18:example.org',17,'openai/scripted','done',1.79531000614736080175e+09,1.7953100067105131149e+09,1651,25,NULL);
INSERT INTO "turns" VALUES(6,3,'!flying:example.org',20,'@ann:example.org','$event-20:example.org',21,'openai/scripted',NULL,1.79531000726574134821e+09,NULL,0,0,NULL);
INSERT INTO "turns" VALUES(7,4,'!ops:example.org',22,'@ann:example.org','$event-22:example.org',23,'openai/scripted',NULL,1.79531000760475659364e+09,NULL,368,16,NULL);
CREATE TABLE upgrades (                      -- rooms that another one has replaced
        old TEXT PRIMARY KEY,
        new TEXT NOT NULL,
        tombstone TEXT NOT NULL,                 -- event id
        by TEXT NOT NULL,
        state TEXT NOT NULL,                     -- upgrades.State
        first_unsent INTEGER NOT NULL            -- row of the outbox: those before it had arrived when it was replaced
    ) WITHOUT ROWID;
CREATE INDEX inbox_waiting ON inbox (room_id, seq) WHERE state != 'done';
CREATE INDEX outbox_unsent ON outbox (id) WHERE state = 'unsent';
CREATE INDEX outbox_events ON outbox (event_id);
CREATE INDEX steps_of ON steps (turn_id, id);
CREATE INDEX ipc_new ON ipc (room_id, id) WHERE state = 'new';
CREATE INDEX ipc_of ON ipc (turn_id) WHERE turn_id IS NOT NULL;
CREATE INDEX audit_of ON audit (room_id, number);
CREATE TRIGGER audit_anchor_moves_on BEFORE UPDATE ON audit_anchor
    WHEN NEW.number <= OLD.number OR NEW.hash IS NOT (SELECT hash FROM audit WHERE number = NEW.number)
    BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_anchor_stays BEFORE DELETE ON audit_anchor
    BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
CREATE INDEX turns_of ON turns (conversation_id, id);
CREATE INDEX turns_in ON turns (room_id, id);
CREATE INDEX turns_running ON turns (room_id, id) WHERE stop IS NULL;
CREATE INDEX cards_of ON cards (outbox_id);
CREATE INDEX cards_until ON cards (expires);
CREATE INDEX audit_at ON audit (at, number);
CREATE INDEX cards_pending ON cards (room_id) WHERE pending;
CREATE INDEX outbox_edits ON outbox (edits) WHERE edits IS NOT NULL;
CREATE INDEX outbox_redacts ON outbox (redacts) WHERE redacts IS NOT NULL;
CREATE INDEX upgrades_into ON upgrades (new);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
    BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_not_cut BEFORE DELETE ON audit WHEN OLD.number > (SELECT number FROM audit_anchor)
    BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('turns',7);
INSERT INTO "sqlite_sequence" VALUES('inbox',25);
INSERT INTO "sqlite_sequence" VALUES('audit',19);
INSERT INTO "sqlite_sequence" VALUES('outbox',27);
