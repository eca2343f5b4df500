// Clients and signers of JavaScript against the local Event API; prints one line of JSON for each case.
import { Sha256 } from '@aws-crypto/sha256-js'
import { HttpRequest } from '@smithy/protocol-http'
import { SignatureV4 } from '@smithy/signature-v4'
import aws4 from 'aws4'
import { AwsV4Signer } from 'aws4fetch'
// The package's `main` names a file that it does not have; bundlers take `module`.
import { PublishRequest } from 'ob-appsync-events-request/dist/index.mjs'
import assert from 'node:assert/strict'
import WebSocket from 'ws'

const { EVENTS_HTTP, EVENTS_WS, EVENTS_KEY } = process.env
const region = 'eu-west-1'
const url = new URL(EVENTS_HTTP)
const accessKeyId = process.env.AWS_ACCESS_KEY_ID
const secretAccessKey = process.env.AWS_SECRET_ACCESS_KEY
const HEADERS = {
  accept: 'application/json, text/javascript',
  'content-encoding': 'amz-1.0',
  'content-type': 'application/json; charset=UTF-8',
}

// Each returns the headers that it would send with a POST of the body to /event.
const SIGNERS = {
  '@smithy/signature-v4': async (host, body) => {
    const signer = new SignatureV4({ credentials: { accessKeyId, secretAccessKey }, service: 'appsync', region, sha256: Sha256 })
    const request = new HttpRequest({ method: 'POST', hostname: host, path: '/event', headers: { ...HEADERS, host }, body })
    return (await signer.sign(request)).headers
  },
  aws4fetch: async (host, body) => {
    const signer = new AwsV4Signer({
      url: `https://${host}/event`, method: 'POST', headers: HEADERS, body, accessKeyId, secretAccessKey, service: 'appsync', region,
    })
    const signed = await signer.sign()
    return { ...Object.fromEntries(signed.headers), host }
  },
  'aws4fetch, all headers': async (host, body) => {
    const signer = new AwsV4Signer({
      url: `https://${host}/event`, method: 'POST', headers: HEADERS, body, accessKeyId, secretAccessKey, service: 'appsync', region,
      allHeaders: true,
    })
    const signed = await signer.sign()
    return { ...Object.fromEntries(signed.headers), host }
  },
  aws4: async (host, body) => {
    const options = { host, method: 'POST', path: '/event', service: 'appsync', region, headers: { ...HEADERS }, body }
    return aws4.sign(options, { accessKeyId, secretAccessKey }).headers
  },
  'aws4, which signs a length that is not sent': async (host, body) => {
    const headers = await SIGNERS.aws4(host, body)
    assert.match(headers.Authorization, /content-length/)
    delete headers['Content-Length']
    return headers
  },
}

class Connection {
  #messages = []
  #waiting = []

  static async open(connectHeaders) {
    const encoded = Buffer.from(JSON.stringify(connectHeaders)).toString('base64url')
    const socket = new WebSocket(EVENTS_WS, ['aws-appsync-event-ws', `header-${encoded}`])
    const made = new Connection()
    made.socket = socket
    socket.on('message', (data) => {
      const message = JSON.parse(data)
      if (message.type === 'ka') return
      const waiting = made.#waiting.shift()
      waiting ? waiting(message) : made.#messages.push(message)
    })
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
    made.send({ type: 'connection_init' })
    return made
  }

  send(message) {
    this.socket.send(JSON.stringify(message))
  }

  next() {
    const message = this.#messages.shift()
    return message ? Promise.resolve(message) : new Promise((resolve) => this.#waiting.push(resolve))
  }

  async ask(message) {
    this.send(message)
    return this.next()
  }
}

async function subscriber(channel) {
  const authorization = { host: url.host, 'x-api-key': EVENTS_KEY }
  const connection = await Connection.open(authorization)
  assert.equal((await connection.next()).type, 'connection_ack')
  assert.equal((await connection.ask({ type: 'subscribe', id: 's', channel, authorization })).type, 'subscribe_success')
  return connection
}

const cases = {}

for (const [name, sign] of Object.entries(SIGNERS)) {
  for (const [what, signedHost] of [['with its port', url.host], ['without its port', url.hostname]]) {
    cases[`${name} signs the host ${what}`] = async () => {
      const headers = async (body) => ({ ...(await sign(signedHost, JSON.stringify(body))), host: url.host })
      const connection = await Connection.open(await headers({}))
      assert.equal((await connection.next()).type, 'connection_ack')
      const channel = '/iam/room'
      const subscribed = await connection.ask({
        type: 'subscribe', id: 's', channel, authorization: await headers({ channel }),
      })
      assert.equal(subscribed.type, 'subscribe_success', JSON.stringify(subscribed))
      const events = [JSON.stringify({ text: 'é' })]
      connection.send({ type: 'publish', id: 'p', channel, events, authorization: await headers({ channel, events }) })
      const answers = [await connection.next(), await connection.next()]
      assert.deepEqual(answers.map((answer) => answer.type).sort(), ['data', 'publish_success'], JSON.stringify(answers))
      const forged = await connection.ask({
        type: 'subscribe', id: 't', channel: '/iam/other', authorization: await headers({ channel }),
      })
      assert.equal(forged.errors[0].errorType, 'BadRequestException')
      const body = JSON.stringify({ channel, events })
      const { host, ...sent } = await sign(signedHost, body)
      const posted = await fetch(EVENTS_HTTP, { method: 'POST', headers: sent, body })
      assert.equal(posted.status, 200, await posted.text())
      assert.equal((await connection.next()).type, 'data')
      connection.socket.close()
    }
  }
}

const at = (path) => ({ url: path ?? EVENTS_HTTP, region })

cases['ob-appsync-events-request publishes and its events arrive'] = async () => {
  const reader = await subscriber('/open/*')
  const events = [{ n: 1 }, 'two', [3], null, { text: '<é>' }]
  const answer = await fetch(await PublishRequest.signed(at(), '/open/a', ...events))
  assert.equal(answer.status, 200)
  const said = await answer.json()
  assert.deepEqual(said.failed, [])
  assert.deepEqual(said.successful.map((event) => event.index), [0, 1, 2, 3, 4])
  for (const event of events) assert.deepEqual(JSON.parse((await reader.next()).event), event)
  reader.socket.close()
}

cases['ob-appsync-events-request sends a session token'] = async () => {
  const kept = { ...process.env }
  Object.assign(process.env, {
    AWS_ACCESS_KEY_ID: process.env.SESSION_ACCESS_KEY,
    AWS_SECRET_ACCESS_KEY: process.env.SESSION_SECRET_KEY,
    AWS_SESSION_TOKEN: process.env.SESSION_TOKEN,
  })
  try {
    const answer = await fetch(await PublishRequest.signed(at(), '/iam/a', 1))
    assert.equal(answer.status, 200, await answer.text())
    process.env.AWS_SESSION_TOKEN = 'another'
    const refused = await fetch(await PublishRequest.signed(at(), '/iam/a', 1))
    assert.equal(refused.status, 403)
  } finally {
    delete process.env.AWS_SESSION_TOKEN
    Object.assign(process.env, kept)
  }
}

cases['ob-appsync-events-request is told of an event that is too large, with the keys in AWS\'s order'] = async () => {
  const answer = await fetch(await PublishRequest.signed(at(), '/open/a', 'x'.repeat(250_000), 1))
  assert.equal(answer.status, 200)
  const text = await answer.text()
  const [failed] = JSON.parse(text).failed
  assert.deepEqual(Object.keys(failed), ['code', 'identifier', 'index', 'message'])
  assert.equal(
    JSON.stringify(failed),
    `{"code":"EventTooLargeException","identifier":"${failed.identifier}","index":0,"message":"Transformed event is larger than 240KB"}`,
  )
}

cases['ob-appsync-events-request is refused with a wrong secret, and where IAM may not publish'] = async () => {
  const kept = process.env.AWS_SECRET_ACCESS_KEY
  process.env.AWS_SECRET_ACCESS_KEY = 'wrong'
  try {
    const wrong = await fetch(await PublishRequest.signed(at(), '/iam/a', 1))
    assert.equal(wrong.status, 400)
    assert.equal(wrong.headers.get('x-amzn-errortype'), 'BadRequestException')
  } finally {
    process.env.AWS_SECRET_ACCESS_KEY = kept
  }
  const forbidden = await fetch(await PublishRequest.signed(at(), '/keys/a', 1))
  assert.equal(forbidden.status, 403)
}

for (const [name, run] of Object.entries(cases)) {
  let why = null
  const timer = setTimeout(() => {
    console.log(JSON.stringify({ name, why: 'no answer within 60 s' }))
    process.exit(1)
  }, 60_000)
  try {
    await run()
  } catch (error) {
    why = error.stack
  }
  clearTimeout(timer)
  console.log(JSON.stringify({ name, why }))
}
process.exit(0)
