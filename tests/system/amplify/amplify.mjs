// Amplify as an application sets it up, pointed at a local Event API by the environment.
import { test as nodeTest } from 'node:test'
import WS from 'ws'
import { Amplify } from 'aws-amplify'
import { events } from 'aws-amplify/data'

// What went over the wire, in the order of opening. Amplify keeps much of it to itself: `failed`, `ka`, the end of a
// subscription; and it reads an array of one event as if it were the event.
export const sockets = []

// Node 20 has no WebSocket of its own.
globalThis.WebSocket = class extends (globalThis.WebSocket ?? WS) {
  sent = []
  received = []
  closeCode = null

  constructor(url, protocols) {
    super(url, protocols)
    this.login = JSON.parse(Buffer.from(protocols[1].replace('header-', ''), 'base64url').toString())
    this.addEventListener('message', ({ data }) => this.received.push(JSON.parse(data)))
    this.addEventListener('close', ({ code }) => { this.closeCode = code })
    sockets.push(this)
  }

  send(data) {
    this.sent.push(JSON.parse(data))
    super.send(data)
  }
}

const env = process.env
export const overTls = env.EVENTS_HTTP.startsWith('https:')
export const credentials = { accessKeyId: env.EVENTS_ACCESS_KEY, secretAccessKey: env.EVENTS_SECRET_KEY }
export const TIMEOUT_MS = 30_000
const CASE_TIMEOUT_MS = 90_000

// Bounds also what a case awaits without `within`.
export const test = (name, body) => nodeTest(name, { timeout: CASE_TIMEOUT_MS }, body)

const libraryOptions = {
  Auth: {
    credentialsProvider: {
      getCredentialsAndIdentityId: async () => ({ credentials }),
      clearCredentialsAndIdentityId: () => {},
    },
    tokenProvider: {
      getTokens: async () => ({
        accessToken: { payload: {}, toString: () => env.EVENTS_JWT },
      }),
    },
  },
}

function configure(endpoint, changes) {
  const Events = { endpoint, region: 'us-east-1', defaultAuthMode: 'apiKey', apiKey: env.EVENTS_KEY, ...changes }
  Amplify.configure({ API: { Events } }, libraryOptions)
}

// Over TLS Amplify derives both URLs from one endpoint; without, the scheme must say which is meant.
export const useWebSocket = (changes) => configure(overTls ? env.EVENTS_HTTP : env.EVENTS_WS, changes)
export const useHttp = (changes) => configure(env.EVENTS_HTTP, changes)

export function within(promise, what, ms = TIMEOUT_MS) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing within ${ms} ms`)), ms)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

export async function until(condition, what, ms = TIMEOUT_MS) {
  const end = Date.now() + ms
  while (!condition()) {
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

// What becomes of a promise that should be rejected.
export async function rejection(promise, what, ms) {
  try {
    const value = await within(promise, what, ms)
    throw Object.assign(new Error(`${what} was not refused but gave ${JSON.stringify(value)}`), { unexpected: true })
  } catch (error) {
    if (error.unexpected) throw error
    return error
  }
}

// The whole of an error, as Amplify wraps what the service said in several ways.
export const textOf = (error) =>
  [error?.name, error?.message, JSON.stringify(error), JSON.stringify(error?.errors), error?.error?.message].join(' ')

export async function connect(channel, options) {
  useWebSocket()
  return within(events.connect(channel, options), `connect to ${channel}`)
}

// Amplify uses a socket that is ready whatever the mode asked for; this makes the next connect open one.
export async function connectAnew(channel, options) {
  await within(events.closeAll(), 'closing everything')
  const before = sockets.length
  const connection = await connect(channel, options)
  if (sockets.length !== before + 1) throw new Error(`${sockets.length - before} sockets were opened, not 1`)
  return connection
}

// The last publish as it was sent, and the server's answer to it.
export function lastPublish() {
  const { sent, received } = sockets.at(-1)
  const request = sent.findLast((frame) => frame.type === 'publish')
  return { request, answer: received.find((frame) => frame.id === request.id) }
}

// A subscription that keeps what it receives and can be waited for.
export function listen(channel, options) {
  const received = []
  const errors = []
  let id
  const waiting = []
  const look = () => {
    for (const entry of waiting.splice(0)) {
      if (received.length >= entry.count) entry.resolve(received)
      else waiting.push(entry)
    }
  }
  const subscription = channel.subscribe(
    {
      next: (data) => {
        received.push(data)
        look()
      },
      error: (error) => errors.push(error),
    },
    options,
  )
  return {
    received,
    errors,
    ready: async () => {
      id = (await within(subscription.ready, 'subscription')).subscriptionId
    },
    settled: () => rejection(subscription.ready, 'subscription'),
    atLeast: (count) =>
      within(new Promise((resolve) => { waiting.push({ count, resolve }); look() }), `event number ${count}`),
    frames: () => sockets.flatMap((socket) => socket.received).filter((frame) => frame.id === id),
    payloads: () => received.map((data) => data.event),
    stop: () => subscription.unsubscribe(),
  }
}

export async function subscribed(channel, options) {
  const listener = listen(channel, options)
  await listener.ready()
  return listener
}

export async function post(channel, event, options) {
  useHttp()
  return within(events.post(channel, event, options), `post to ${channel}`)
}

// What was sent before has arrived when an event sent later has: for 'nothing more comes'.
export async function fence() {
  const name = `/default/fence-${Math.random().toString(36).slice(2)}`
  const connection = await connect(name)
  const mark = await subscribed(connection)
  await post(name, 'mark')
  await mark.atLeast(1)
  await connection.close()
}
