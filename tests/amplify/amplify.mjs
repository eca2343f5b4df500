// Amplify as an application sets it up, pointed at a local Event API by the environment.
import WS from 'ws'
import { Amplify } from 'aws-amplify'
import { events } from 'aws-amplify/data'

// Node 20 has no WebSocket of its own.
globalThis.WebSocket ??= WS

const env = process.env
export const overTls = env.EVENTS_HTTP.startsWith('https:')
export const credentials = { accessKeyId: env.EVENTS_ACCESS_KEY, secretAccessKey: env.EVENTS_SECRET_KEY }
export const TIMEOUT_MS = 10_000

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

// What becomes of a promise that should be rejected.
export async function rejection(promise, what) {
  try {
    const value = await within(promise, what)
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

// A subscription that keeps what it receives and can be waited for.
export function listen(channel, options) {
  const received = []
  const errors = []
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
    ready: () => within(subscription.ready, 'subscription'),
    settled: () => rejection(subscription.ready, 'subscription'),
    atLeast: (count) =>
      within(new Promise((resolve) => { waiting.push({ count, resolve }); look() }), `event number ${count}`),
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
export async function fence(channel, listener, name = `/default/fence-${Math.random().toString(36).slice(2)}`) {
  const connection = await connect(name)
  const mark = await subscribed(connection)
  await post(name, 'mark')
  await mark.atLeast(1)
  await connection.close()
}
