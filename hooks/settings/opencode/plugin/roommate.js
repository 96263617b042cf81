// OpenCode runs no programs as hooks: this plugin, which lies in a folder of its settings, calls ours with what other
// agents give them.
// Runs within OpenCode in a room's container. Whatever goes wrong here must not be OpenCode's trouble.

import { spawn, spawnSync } from "node:child_process"

const HOOKS = {
  "session-start": "sh /run/hooks/wrapper opencode session-start",
  "before-tool": "sh /run/hooks/wrapper opencode before-tool",
  "after-tool": "sh /run/hooks/wrapper opencode after-tool",
  "after-agent": "sh /run/hooks/wrapper opencode after-agent",
  "notification": "sh /run/hooks/wrapper opencode notification",
}
const REPORT_MS = 10_000
const ANSWER_MS = 330_000 // before-tool gives up by itself sooner

/** Runs a hook to its end. It blocks: OpenCode leaves as soon as it is idle, and waits for nothing that goes on by then. */
function report(command, said) {
  const [program, ...words] = command.split(" ")
  spawnSync(program, words, { input: JSON.stringify(said), stdio: ["pipe", "ignore", "ignore"], timeout: REPORT_MS })
}

/** Runs a hook that may wait for people, while OpenCode goes on with all else. Gives what it prints. */
function ask(command, said) {
  const [program, ...words] = command.split(" ")
  return new Promise((done) => {
    setTimeout(done, ANSWER_MS, "").unref()
    const hook = spawn(program, words, { stdio: ["pipe", "pipe", "ignore"] })
    let told = ""
    hook.stdout.setEncoding("utf8").on("data", (text) => (told += text))
    hook.on("error", () => done("")).on("close", () => done(told))
    hook.stdin.on("error", () => {}) // it ended without reading
    hook.stdin.end(JSON.stringify(said))
  })
}

function attempt(work) {
  try {
    return work()
  } catch {
    return undefined
  }
}

async function server({ client }) {
  delete process.env.npm_config_offline // it was for OpenCode alone, not for what it runs

  const started = Date.now()
  const parents = new Map() // of the sessions that have begun; a subagent's has one, and tells as its parent's
  const words = new Map() // the newest, by session
  const calls = new Map() // when those began that run

  const top = (session) => (parents.get(session) ? top(parents.get(session)) : session)

  async function begin(session) {
    if (parents.has(session)) return
    parents.set(session, "")
    const { data } = (await client.session.get({ path: { id: session } }).catch(() => undefined)) ?? {}
    if (data?.parentID) parents.set(session, data.parentID)
    else report(HOOKS["session-start"], { session_id: session, source: data?.time?.created < started ? "resume" : "startup" })
  }

  function ended({ sessionID, tool, callID, state }) {
    const began = calls.get(callID)
    if (!calls.delete(callID)) return // told already, or never begun
    report(HOOKS["after-tool"], {
      session_id: top(sessionID),
      tool_name: tool,
      tool_input: state.input,
      tool_response: { output: state.output, exit_code: state.metadata?.exit },
      error: state.status === "error" ? state.error || "failed" : undefined,
      duration_ms: Date.now() - began,
    })
  }

  function happened({ type, properties: about }) {
    const part = about?.part
    if (type === "message.part.updated" && part.type === "tool" && ["completed", "error"].includes(part.state.status))
      ended(part)
    else if (type === "message.part.updated" && part.type === "text" && part.time?.end) words.set(part.sessionID, part.text)
    else if (type === "session.idle" && parents.get(about.sessionID) === "")
      report(HOOKS["after-agent"], { session_id: about.sessionID, last_assistant_message: words.get(about.sessionID) })
    else if (type === "session.error")
      report(HOOKS["notification"], {
        session_id: about.sessionID && top(about.sessionID),
        title: about.error?.name,
        message: about.error?.data?.message,
      })
  }

  return {
    "chat.message": ({ sessionID }) => begin(sessionID).catch(() => {}),
    "tool.execute.before": async ({ tool, sessionID, callID }, { args }) => {
      calls.set(callID, Date.now())
      const said = { session_id: top(sessionID), tool_name: tool, tool_input: args }
      const told = await ask(HOOKS["before-tool"], said).catch(() => "")
      calls.set(callID, Date.now()) // people took the time before, not the tool
      const decision = attempt(() => JSON.parse(told).hookSpecificOutput)
      if (decision?.permissionDecision === "deny") throw new Error(decision.permissionDecisionReason)
    },
    event: async ({ event }) => attempt(() => happened(event)),
  }
}

export default { id: "roommate", server }
