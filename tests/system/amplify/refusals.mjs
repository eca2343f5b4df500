// Refused connects, in a process of their own: Amplify keeps one good connection for all channels of an endpoint.
import assert from 'node:assert/strict'
import { events } from 'aws-amplify/data'
import { connect, credentials, post, rejection, sockets, subscribed, test, textOf, until, useWebSocket } from './amplify.mjs'

// Amplify rejects, and each of its attempts was refused for that reason. How many there are is a case of its own.
async function refused(errorType, channel, options, changes) {
  const before = sockets.length
  useWebSocket(changes)
  const error = await rejection(events.connect(channel, options), 'connect', 15_000)
  const attempts = sockets.slice(before)
  assert.ok(attempts.length > 0)
  for (const { received } of attempts) {
    await until(() => received.length > 0, 'refusal')
    assert.deepEqual(received.map((frame) => [frame.type, frame.errors?.[0].errorType]), [['connection_error', errorType]])
  }
  return { error, attempts }
}

test('a wrong key is refused on connect', async () => {
  await refused('UnauthorizedException', '/default/a', {}, { apiKey: 'da2-wrong' })
})

test('a wrong IAM secret is refused on connect', async () => {
  const right = credentials.secretAccessKey
  credentials.secretAccessKey = 'wrong'
  try {
    await refused('BadRequestException', '/iam/a', { authMode: 'iam' })
  } finally {
    credentials.secretAccessKey = right
  }
})

test('a token that no authorizer knows is refused on connect', async () => {
  await refused('UnauthorizedException', '/lambda/a', { authMode: 'lambda', authToken: 'nobody' })
})

test('Amplify understands a refused connect at once and does not try again', async () => {
  for (let n = 0; n < 5; n++) {
    const { error, attempts } = await refused('UnauthorizedException', '/default/a', {}, { apiKey: 'da2-wrong' })
    assert.match(textOf(error), /UnauthorizedException/)
    assert.equal(attempts.length, 1)
  }
})

test('after refusals the right key still connects', async () => {
  const channel = await connect('/default/refusals')
  const listener = await subscribed(channel)
  await post('/default/refusals', 'welcome')
  await listener.atLeast(1)
  assert.deepEqual(listener.payloads(), ['welcome'])
  await channel.close()
})
