// A client of AppSync Events over WebSocket and HTTP, with only the operations that the page needs.
const SUBPROTOCOL = 'aws-appsync-event-ws'
const TIMEOUT_MS = 10_000

const base64url = (text) =>
  btoa(String.fromCharCode(...new TextEncoder().encode(text))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')

export function describe(errors) {
  const parts = (errors ?? []).map(({ errorType, message }) => [errorType, message].filter(Boolean).join(': '))
  return `The service says ${parts.join('; ') || 'no, without a reason'}`
}

// An error for a request without an answer, which the service may nevertheless have carried out.
function unanswered(text = 'The service does not answer.') {
  return Object.assign(new Error(text), { unanswered: true })
}

// One WebSocket connection. Each request returns a promise, settled by the answer with its id.
export class EventConnection {
  constructor(authorization, { onData, onError, onClosed }) {
    this.authorization = { host: location.host, ...authorization }
    this.on = { onData, onError, onClosed }
    this.pending = new Map()
    this.number = 0
    this.live = false
    this.silence = null
    this.patienceMs = 300_000
  }

  open() {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
    const login = `header-${base64url(JSON.stringify(this.authorization))}`
    this.socket = new WebSocket(`${scheme}://${location.host}/event/realtime`, [SUBPROTOCOL, login])
    this.socket.addEventListener('open', () => this.send({ type: 'connection_init' }))
    this.socket.addEventListener('message', ({ data }) => this.receive(JSON.parse(data)))
    this.socket.addEventListener('close', ({ code }) => this.closed(code))
    return this.answered('login').catch((problem) => {
      this.close()
      throw problem
    })
  }

  subscribe(id, channel) {
    return this.ask({ type: 'subscribe', id, channel, authorization: this.authorization })
  }

  unsubscribe(id) {
    return this.ask({ type: 'unsubscribe', id })
  }

  publish(channel, events) {
    this.number += 1
    return this.ask({ type: 'publish', id: `p${this.number}`, channel, events, authorization: this.authorization })
  }

  close() {
    this.socket.close(1000)
    clearTimeout(this.silence)
  }

  ask(message) {
    const answer = this.answered(message.id)
    this.send(message)
    return answer
  }

  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message))
  }

  answered(id) {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => this.settle(id, null, unanswered()), TIMEOUT_MS)
      this.pending.set(id, { resolve, reject, late })
    })
  }

  settle(id, value, problem) {
    const waiting = this.pending.get(id)
    if (!waiting) return
    this.pending.delete(id)
    clearTimeout(waiting.late)
    if (problem) waiting.reject(problem instanceof Error ? problem : new Error(problem))
    else waiting.resolve(value)
  }

  // Restarts the timeout of the connection: connection_ack names the time within which the service sends some frame.
  heard() {
    clearTimeout(this.silence)
    if (!this.live || this.socket.readyState !== WebSocket.OPEN) return
    this.silence = setTimeout(() => {
      this.close()
      // On a dead connection the close frame is never answered, so do not wait for the answer.
      this.closed(1006)
    }, this.patienceMs)
  }

  receive(message) {
    const { type, id } = message
    if (type === 'data') this.on.onData(id, message.event)
    else if (type === 'connection_ack') {
      this.live = true
      this.patienceMs = message.connectionTimeoutMs ?? this.patienceMs
      this.settle('login', message)
    } else if (type === 'connection_error') this.settle('login', null, describe(message.errors))
    else if (type.endsWith('_success')) this.settle(id, message)
    else if (/(^|_)error$/.test(type) && this.pending.has(id)) this.settle(id, null, describe(message.errors))
    else if (type !== 'ka') this.on.onError(describe(message.errors))
    this.heard()
  }

  closed(code) {
    for (const id of [...this.pending.keys()]) this.settle(id, null, unanswered(`The connection was closed (code ${code}).`))
    // A failed login has already been reported by its own answer.
    const told = this.live
    this.live = false
    clearTimeout(this.silence)
    if (told) this.on.onClosed(code)
  }
}

export async function post(authorization, channel, events) {
  let answer
  try {
    answer = await fetch('/event', {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...authorization },
      body: JSON.stringify({ channel, events }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
  } catch {
    throw unanswered()
  }
  const body = await answer.json().catch(() => ({}))
  if (!answer.ok) throw new Error(`${describe(body.errors)} (HTTP ${answer.status})`)
  return body
}
