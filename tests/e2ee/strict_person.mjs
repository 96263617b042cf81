// A person who is strict: their client (matrix-js-sdk, the Rust crypto of Element) gives keys to, and reads, devices alone that
// their user has signed. Driven by lines of JSON: {"id", "do", ...} in, {"id", "value" | "error"} and {"seen": event} out.
import * as readline from 'node:readline';
import * as sdk from 'matrix-js-sdk';
import { logger } from 'matrix-js-sdk/lib/logger.js';
import {
  AllDevicesIsolationMode, CryptoEvent, OnlySignedDevicesIsolationMode, VerificationPhase, VerificationRequestEvent, VerifierEvent,
} from 'matrix-js-sdk/lib/crypto-api/index.js';
import { decodeRecoveryKey } from 'matrix-js-sdk/lib/crypto-api/recovery-key.js';
import { encodeUnpaddedBase64 } from 'matrix-js-sdk/lib/base64.js';

logger.setLevel('silent');
for (const name of ['log', 'info', 'debug', 'warn', 'error', 'trace']) console[name] = () => {};
const out = (line) => process.stdout.write(JSON.stringify(line) + '\n');
const people = new Map();
const comparing = new Map();
const recoveryKeys = new Map();

async function login({ name, url, user, password, strict = true, crossSign = true }) {
  const found = await sdk.createClient({ baseUrl: url }).loginRequest({
    type: 'm.login.password', identifier: { type: 'm.id.user', user }, password,
  });
  const client = sdk.createClient({
    baseUrl: url, accessToken: found.access_token, userId: found.user_id, deviceId: found.device_id,
    cryptoCallbacks: { getSecretStorageKey: async ({ keys }) => {
      const id = await client.secretStorage.getDefaultKeyId();
      return keys[id] ? [id, recoveryKeys.get(name)] : null;
    } },
  });
  await client.initRustCrypto({ useIndexedDB: false });
  const crypto = client.getCrypto();
  crypto.setDeviceIsolationMode(strict ? new OnlySignedDevicesIsolationMode() : new AllDevicesIsolationMode());
  if (crossSign) {
    await crypto.bootstrapCrossSigning({
      setupNewCrossSigning: true,
      authUploadDeviceSigningKeys: (make) => make({
        type: 'm.login.password', identifier: { type: 'm.id.user', user: found.user_id }, password,
      }),
    });
  }
  const tell = async (event) => {
    if (event.isState() || event.isBeingDecrypted()) return;
    const info = event.isEncrypted() && !event.isDecryptionFailure() ? await crypto.getEncryptionInfoForEvent(event) : null;
    out({ seen: {
      person: name, room_id: event.getRoomId(), event_id: event.getId(), sender: event.getSender(), type: event.getType(),
      content: event.getContent(), wire: event.getWireContent(), encrypted: event.isEncrypted(),
      failure: event.isDecryptionFailure() ? String(event.decryptionFailureReason) : '',
      shield: info ? info.shieldColour : null,
    } });
  };
  client.on(sdk.RoomEvent.Timeline, (event) => { if (!event.isEncrypted()) tell(event); });
  client.on(sdk.MatrixEventEvent.Decrypted, (event) => tell(event));
  await client.startClient({ initialSyncLimit: 50 });
  await new Promise((done) => {
    const look = (state) => { if (state === 'PREPARED') { client.off(sdk.ClientEvent.Sync, look); done(); } };
    client.on(sdk.ClientEvent.Sync, look);
  });
  people.set(name, client);
  comparing.set(client, { requests: [], requested: null, sas: null, ended: null });
  client.on(CryptoEvent.VerificationRequestReceived, (request) => {
    const mine = comparing.get(client);
    mine.requests.push(request);
    mine.requested?.();
  });
  return { user: found.user_id, device: found.device_id };
}

// Verification: `compare` goes as far as the emoji, `match` from there to the end.
async function compare(client, request, starts) {
  const mine = comparing.get(client);
  mine.request = request;
  const cancelled = new Promise((_, refuse) => request.on(VerificationRequestEvent.Change, () => {
    if (request.phase === VerificationPhase.Cancelled) refuse(new Error(`cancelled: ${request.cancellationCode}`));
  }));
  cancelled.catch(() => {});
  const reached = (condition) => Promise.race([cancelled, new Promise((done) => {
    const look = () => { if (condition()) done(); };
    request.on(VerificationRequestEvent.Change, look);
    look();
  })]);
  if (starts) {
    await reached(() => request.phase >= VerificationPhase.Ready);
    await request.startVerification('m.sas.v1');
  }
  await reached(() => request.verifier);
  const verifier = mine.verifier = request.verifier; // kept: the library refers to it weakly
  const shown = new Promise((done) => verifier.on(VerifierEvent.ShowSas, done));
  mine.ended = verifier.verify();
  mine.ended.catch(() => {});
  mine.sas = verifier.getShowSasCallbacks() ?? await Promise.race([cancelled, mine.ended, shown]);
  return mine.sas.sas.emoji;
}

const joined = async (client, room, user) => {
  while (client.getRoom(room)?.getMember(user)?.membership !== 'join') await new Promise((r) => setTimeout(r, 30));
};

const deeds = {
  login,
  async createRoom({ client, invite, version = '11', encrypted = true, rotation = 100 }) {
    const { room_id: room } = await client.createRoom({
      room_version: version, preset: 'private_chat', invite,
      initial_state: encrypted ? [{ type: 'm.room.encryption', state_key: '', content: { algorithm: 'm.megolm.v1.aes-sha2', rotation_period_msgs: rotation } }] : [],
    });
    return room;
  },
  async waitFor({ client, room, user }) { await joined(client, room, user); },
  async invite({ client, room, user }) { await client.invite(room, user); },
  async join({ client, room }) { await client.joinRoom(room); },
  async kick({ client, room, user }) { await client.kick(room, user); },
  async send({ client, room, content, type = 'm.room.message' }) {
    return (await client.sendEvent(room, type, content)).event_id;
  },
  async sendAsItIs({ client, room, content, type }) {
    const path = `/rooms/${encodeURIComponent(room)}/send/${type}/${client.makeTxnId()}`;
    return (await client.http.authedRequest('PUT', path, undefined, content)).event_id;
  },
  async redact({ client, room, event }) { return (await client.redactEvent(room, event)).event_id; },
  async discardSession({ client, room }) { await client.getCrypto().forceDiscardSession(room); },
  async sendFile({ client, room, name, text }) {
    const key = await crypto.subtle.generateKey({ name: 'AES-CTR', length: 256 }, true, ['encrypt', 'decrypt']);
    const iv = new Uint8Array(16); crypto.getRandomValues(iv.subarray(0, 8));
    const sealed = new Uint8Array(await crypto.subtle.encrypt({ name: 'AES-CTR', counter: iv, length: 64 }, key, new TextEncoder().encode(text)));
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', sealed));
    const { content_uri: url } = await client.uploadContent(sealed, { type: 'application/octet-stream', includeFilename: false });
    const jwk = await crypto.subtle.exportKey('jwk', key);
    const file = { v: 'v2', url, key: jwk, iv: encodeUnpaddedBase64(iv), hashes: { sha256: encodeUnpaddedBase64(digest) } };
    return (await client.sendEvent(room, 'm.room.message', {
      msgtype: 'm.file', body: name, filename: name, file, info: { mimetype: 'text/plain', size: text.length },
    })).event_id;
  },
  async openFile({ client, file }) {
    const response = await fetch(client.mxcUrlToHttp(file.url, undefined, undefined, undefined, false, true, true), {
      headers: { Authorization: `Bearer ${client.getAccessToken()}` },
    });
    const sealed = new Uint8Array(await response.arrayBuffer());
    const digest = encodeUnpaddedBase64(new Uint8Array(await crypto.subtle.digest('SHA-256', sealed)));
    if (digest !== file.hashes.sha256) throw new Error('the hash is wrong');
    const key = await crypto.subtle.importKey('jwk', file.key, { name: 'AES-CTR' }, false, ['decrypt']);
    const iv = Uint8Array.from(atob(file.iv + '='.repeat((4 - (file.iv.length % 4)) % 4)), (c) => c.charCodeAt(0));
    return new TextDecoder().decode(await crypto.subtle.decrypt({ name: 'AES-CTR', counter: iv, length: 64 }, key, sealed));
  },
  async trust({ client, user, device }) {
    const status = await client.getCrypto().getDeviceVerificationStatus(user, device);
    return { signed: status?.signedByOwner ?? false };
  },
  async verify({ client, user, room, device, starts = true }) {
    const api = client.getCrypto();
    const request = room ? await api.requestVerificationDM(user, room) : await api.requestDeviceVerification(user, device);
    return await compare(client, request, starts);
  },
  async requested({ client }) {
    const mine = comparing.get(client);
    while (!mine.requests.length) await new Promise((done) => { mine.requested = done; });
    return mine.requests[0].otherUserId;
  },
  async accept({ client, starts = false }) {
    await deeds.requested({ client });
    const request = comparing.get(client).requests.shift();
    await request.accept();
    return await compare(client, request, starts);
  },
  async match({ client, match = true }) {
    const { sas, ended } = comparing.get(client);
    if (!match) { sas.mismatch(); return null; }
    await sas.confirm();
    await ended;
    return null;
  },
  async cancelled({ client }) {
    const { request } = comparing.get(client);
    while (request.phase !== VerificationPhase.Cancelled) await new Promise((r) => setTimeout(r, 30));
    return request.cancellationCode;
  },
  async askForSecret({ client, name, device }) { // as a session does that does not care whether it is verified
    const content = { action: 'request', name, request_id: 'mine', requesting_device_id: client.getDeviceId() };
    await client.sendToDevice('m.secret.request', new Map([[client.getUserId(), new Map([[device, content]])]]));
  },
  async secrets({ client }) {
    const api = client.getCrypto();
    const { masterKey, selfSigningKey, userSigningKey } = (await api.getCrossSigningStatus()).privateKeysCachedLocally;
    return { masterKey, selfSigningKey, userSigningKey, backup: Boolean(await api.getSessionBackupPrivateKey()) };
  },
  async verified({ client, user }) {
    return (await client.getCrypto().getUserVerificationStatus(user)).isCrossSigningVerified();
  },
  async makeRecovery({ client, person, passphrase }) {
    const made = await client.getCrypto().createRecoveryKeyFromPassphrase(passphrase);
    recoveryKeys.set(person, made.privateKey);
    await client.getCrypto().bootstrapSecretStorage({ createSecretStorageKey: async () => made, setupNewKeyBackup: true });
    return made.encodedPrivateKey;
  },
  async backUp({ client, count }) {
    const info = () => client.http.authedRequest('GET', '/room_keys/version');
    while ((await info()).count < count) await new Promise((r) => setTimeout(r, 100));
  },
  async recover({ client, person, key }) {
    recoveryKeys.set(person, decodeRecoveryKey(key));
    const crypto = client.getCrypto();
    await crypto.userHasCrossSigningKeys(client.getUserId(), true);
    await crypto.bootstrapCrossSigning({});
    await crypto.loadSessionBackupPrivateKeyFromSecretStorage();
    const info = await crypto.getKeyBackupInfo();
    const trusted = await crypto.isKeyBackupTrusted(info);
    const { imported } = await crypto.restoreKeyBackup();
    return { imported, trusted: trusted.trusted, version: info.version, crossSigned: await crypto.isCrossSigningReady() };
  },
  async timeline({ client, room }) { // as the homeserver has it, whenever each could be read
    return client.getRoom(room).getLiveTimeline().getEvents().map((event) => event.getId());
  },
  async masterKey({ client, user }) {
    const answer = await client.http.authedRequest('POST', '/keys/query', undefined, { device_keys: { [user]: [] } });
    return Object.values(answer.master_keys[user].keys)[0];
  },
  async stop({ client, person }) { client.stopClient(); people.delete(person); },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { id, do: deed, ...more } = JSON.parse(line);
  deeds[deed]({ client: people.get(more.person), ...more })
    .then((value) => out({ id, value: value ?? null }))
    .catch((error) => out({ id, error: String(error?.message ?? error) }));
}
process.exit(0);
