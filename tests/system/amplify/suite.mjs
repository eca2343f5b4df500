// Cases of aws-amplify's events client against the embedded Event API; test_amplify.py runs them and reports each.
import assert from 'node:assert/strict'
import { before } from 'node:test'
import { events } from 'aws-amplify/data'
import {
  connect,
  connectAnew,
  fence,
  lastPublish,
  listen,
  post,
  rejection,
  sockets,
  subscribed,
  test,
  textOf,
  until,
  useHttp,
  within,
} from './amplify.mjs'

let number = 0
const fresh = (namespace = 'default') => `/${namespace}/case-${process.pid}-${++number}`
const json = (value) => JSON.parse(JSON.stringify(value))
const PAYLOADS = [
  { text: 'hello', nested: { list: [1, 2.5, null, true], 'key with "quotes"': 'é😀\u2028\\ /' } },
  'a string with "quotes" & <tags>',
  42,
  -1.5e-7,
  true,
  null,
  {},
  { '': [[], [[]]] },
]

test('a WebSocket publish arrives as it was sent', async () => {
  const channel = await connect(fresh())
  const listener = await subscribed(channel)
  await within(channel.publish({ n: 1 }), 'publish')
  const [data] = await listener.atLeast(1)
  assert.equal(data.type, 'data')
  assert.deepEqual(data.event, { n: 1 })
  await channel.close()
})

test('an event is one string on the wire', async () => {
  const channel = await connect(fresh())
  const listener = await subscribed(channel)
  await within(channel.publish([{ n: 1 }, 's']), 'publish')
  await listener.atLeast(2)
  const frames = listener.frames().filter((frame) => frame.type === 'data')
  assert.deepEqual(frames.map((frame) => Object.keys(frame).sort()), Array(2).fill(['event', 'id', 'type']))
  assert.deepEqual(frames.map((frame) => frame.event), ['{"n":1}', '"s"'])
  await channel.close()
})

test('a batch of five over WebSocket arrives whole and in order', async () => {
  const channel = await connect(fresh())
  const listener = await subscribed(channel)
  await within(channel.publish([1, 2, 3, 4, 5].map((n) => ({ n }))), 'publish')
  await listener.atLeast(5)
  assert.deepEqual(listener.payloads(), [1, 2, 3, 4, 5].map((n) => ({ n })))
  await channel.close()
})

// A second after each close() Amplify ends the connection if no channel is open. Where that meets the handshake of the
// next, it takes itself for connected without a socket, until closeAll(); so one channel stays open throughout.
before(async () => {
  await connect(fresh())
})

for (const [index, payload] of PAYLOADS.entries()) {
  test(`a WebSocket publish of payload ${index} arrives with its type and value`, async () => {
    const channel = await connect(fresh())
    const listener = await subscribed(channel)
    await within(channel.publish(payload), 'publish')
    await listener.atLeast(1)
    assert.deepEqual(json(listener.payloads()), [json(payload)])
    await channel.close()
  })

  test(`a post of payload ${index} arrives with its type and value`, async () => {
    const name = fresh()
    const channel = await connect(name)
    const listener = await subscribed(channel)
    assert.equal(await post(name, payload), undefined)
    await listener.atLeast(1)
    assert.deepEqual(json(listener.payloads()), [json(payload)])
    await channel.close()
  })
}

test('a post of five arrives whole', async () => {
  const name = fresh()
  const channel = await connect(name)
  const listener = await subscribed(channel)
  assert.equal(await post(name, PAYLOADS.slice(0, 5)), undefined)
  await listener.atLeast(5)
  assert.deepEqual(json(listener.payloads()), json(PAYLOADS.slice(0, 5)))
  await channel.close()
})

test('an event that is an array is a batch of one', async () => {
  const name = fresh()
  const channel = await connect(name)
  const listener = await subscribed(channel)
  await within(channel.publish([[1, 2]]), 'publish')
  assert.equal(await post(name, [[3]]), undefined)
  await listener.atLeast(2)
  assert.deepEqual(listener.payloads(), [[1, 2], [3]])
  await channel.close()
})

test('a hundred events of one publisher arrive complete and in order', async () => {
  const channel = await connect(fresh())
  const listener = await subscribed(channel)
  for (let n = 0; n < 100; n += 5) {
    await within(channel.publish([n, n + 1, n + 2, n + 3, n + 4].map((m) => ({ m }))), 'publish')
  }
  await listener.atLeast(100)
  assert.deepEqual(listener.payloads().map((event) => event.m), Array.from({ length: 100 }, (_, m) => m))
  await channel.close()
})

test('a wildcard takes every level below its prefix and not the prefix', async () => {
  const prefix = fresh()
  const channel = await connect(`${prefix}/*`)
  const listener = await subscribed(channel)
  for (const name of [prefix, `${prefix}/a`, `${prefix}/a/b`, `${prefix}/a/b/c`, `${prefix}x/a`]) {
    await post(name, name)
  }
  await listener.atLeast(3)
  await fence()
  assert.deepEqual(listener.payloads(), [`${prefix}/a`, `${prefix}/a/b`, `${prefix}/a/b/c`])
  await channel.close()
})

test('a wildcard right below the namespace takes every level but not the namespace itself', async () => {
  const prefix = fresh()
  const channel = await connect('default/*')
  const listener = await subscribed(channel)
  for (const name of ['/default', prefix, `${prefix}/a/b`]) await post(name, name)
  await fence()
  assert.deepEqual(listener.payloads().filter((payload) => payload !== 'mark'), [prefix, `${prefix}/a/b`])
  await channel.close()
})

test('channels are the same with and without slashes at their ends', async () => {
  const name = fresh()
  const channel = await connect(name.slice(1))
  const listener = await subscribed(channel)
  await post(`${name}/`, 1)
  await post(name.slice(1), 2)
  await listener.atLeast(2)
  assert.deepEqual(listener.payloads(), [1, 2])
  await channel.close()
})

test('channels are told apart by case', async () => {
  const name = fresh()
  const channel = await connect(`${name}/room`)
  const listener = await subscribed(channel)
  await post(`${name}/Room`, 'other')
  await post(`${name}/room`, 'this')
  await listener.atLeast(1)
  assert.deepEqual(listener.payloads(), ['this'])
  await channel.close()
})

test('two subscriptions to one channel get each event once each', async () => {
  const channel = await connect(fresh())
  const first = await subscribed(channel)
  const second = await subscribed(channel)
  await within(channel.publish('x'), 'publish')
  await Promise.all([first.atLeast(1), second.atLeast(1)])
  await fence()
  assert.deepEqual([first.payloads(), second.payloads()], [['x'], ['x']])
  assert.notEqual(first.received[0].id, second.received[0].id)
  // close() ends only the subscription that was made last.
  first.stop()
  await channel.close()
})

test('two channels share one connection and do not mix', async () => {
  const names = [fresh(), fresh()]
  const channels = [await connect(names[0]), await connect(names[1])]
  const listeners = [await subscribed(channels[0]), await subscribed(channels[1])]
  await post(names[1], 'second')
  await post(names[0], 'first')
  await Promise.all(listeners.map((listener) => listener.atLeast(1)))
  await fence()
  assert.equal(sockets.filter((socket) => socket.readyState === WebSocket.OPEN).length, 1)
  assert.deepEqual(listeners.map((listener) => listener.payloads()), [['first'], ['second']])
  await Promise.all(channels.map((channel) => channel.close()))
})

test('publishing needs no subscription', async () => {
  const channel = await connectAnew(fresh())
  await within(channel.publish(['alone', 'again']), 'publish')
  const { answer } = lastPublish()
  assert.equal(answer.type, 'publish_success')
  assert.deepEqual([answer.successful.map((event) => event.index), answer.failed], [[0, 1], []])
  assert.deepEqual(sockets.at(-1).sent.map((frame) => frame.type), ['connection_init', 'publish'])
  await channel.close()
})

test('unsubscribing ends delivery, and subscribing again begins it', async () => {
  const name = fresh()
  const channel = await connect(name)
  const first = await subscribed(channel)
  await post(name, 1)
  await first.atLeast(1)
  first.stop()
  await until(() => first.frames().some((frame) => frame.type === 'unsubscribe_success'), 'end of the subscription')
  const second = await subscribed(channel)
  await post(name, 2)
  await second.atLeast(1)
  await fence()
  assert.deepEqual([first.payloads(), second.payloads()], [[1], [2]])
  // Amplify would drop what comes for a subscription that has ended: only the wire shows that nothing came.
  assert.deepEqual(first.frames().map((frame) => frame.type), ['subscribe_success', 'data', 'unsubscribe_success'])
  await channel.close()
})

test('a client can close and connect again', async () => {
  const name = fresh()
  const before = await connect(name)
  await subscribed(before)
  await before.close()
  const after = await connect(name)
  const listener = await subscribed(after)
  await post(name, 'again')
  await listener.atLeast(1)
  assert.deepEqual(listener.payloads(), ['again'])
  await after.close()
})

test('keep-alives pass without a trace', async () => {
  // The suite's server sends one every 300 ms.
  const channel = await connect(fresh())
  const listener = await subscribed(channel)
  const kept = () => sockets.at(-1).received.filter((frame) => frame.type === 'ka').length
  const earlier = kept()
  await until(() => kept() >= earlier + 3, 'three keep-alives')
  await within(channel.publish('still here'), 'publish')
  await listener.atLeast(1)
  assert.deepEqual(listener.payloads(), ['still here'])
  assert.deepEqual(listener.errors, [])
  await channel.close()
})

test('a wrong key is refused on post', async () => {
  useHttp({ apiKey: 'da2-wrong' })
  const error = await rejection(events.post(fresh(), 1), 'post')
  assert.match(textOf(error), /UnauthorizedException/)
  assert.match(textOf(error), /You are not authorized to make this call/)
})

test('a wrong key is refused on subscribe and publish over a good connection', async () => {
  const channel = await connect(fresh())
  const wrong = { apiKey: 'da2-wrong' }
  assert.match(textOf(await listen(channel, wrong).settled()), /UnauthorizedException/)
  assert.match(textOf(await rejection(channel.publish(1, wrong), 'publish')), /UnauthorizedException/)
  assert.equal(lastPublish().answer.errors[0].message, 'You are not authorized to make this call.')
  await channel.close()
})

test('an undefined namespace is refused on subscribe', async () => {
  const channel = await connect('/nowhere/a')
  const listener = listen(channel)
  assert.match(textOf(await listener.settled()), /UnauthorizedException|Unauthorized/)
  await channel.close()
})

test('an undefined namespace is refused on publish', async () => {
  const channel = await connect('/nowhere/a')
  const error = await rejection(channel.publish(1), 'publish')
  assert.match(textOf(error), /Unauthorized/)
  await channel.close()
})

test('an undefined namespace is refused on post', async () => {
  useHttp()
  const error = await rejection(events.post('/nowhere/a', 1), 'post')
  assert.match(textOf(error), /Unauthorized/)
})

test('six events are refused on publish', async () => {
  const channel = await connect(fresh())
  const error = await rejection(channel.publish([1, 2, 3, 4, 5, 6]), 'publish')
  assert.match(textOf(error), /InvalidInputError/)
  // Amplify leaves the counting to the service.
  const { request, answer } = lastPublish()
  assert.equal(request.events.length, 6)
  assert.deepEqual(answer.errors, [{ errorType: 'InvalidInputError', message: 'input exceeded 5 event limit' }])
  await channel.close()
})

test('six events are refused on post', async () => {
  useHttp()
  const error = await rejection(events.post(fresh(), [1, 2, 3, 4, 5, 6]), 'post')
  assert.match(textOf(error), /Input exceeded 5 event limit/)
})

test('a wildcard is refused on publish and post', async () => {
  const channel = await connect('/default/*')
  assert.match(textOf(await rejection(channel.publish(1), 'publish')), /BadRequestException/)
  useHttp()
  assert.match(textOf(await rejection(events.post('/default/*', 1), 'post')), /Invalid Channel Format/)
  await channel.close()
})

test('a bad channel is refused on subscribe', async () => {
  const channel = await connect('/default/not a channel')
  assert.match(textOf(await listen(channel).settled()), /Invalid Channel Format/)
  await channel.close()
})

test('one refused subscription leaves another alone', async () => {
  const name = fresh()
  const good = await connect(name)
  const listener = await subscribed(good)
  const bad = await connect('/nowhere/b')
  await listen(bad).settled()
  await post(name, 'unharmed')
  await listener.atLeast(1)
  assert.deepEqual(listener.payloads(), ['unharmed'])
  assert.deepEqual(listener.errors, [])
  await Promise.all([good.close(), bad.close()])
})

test('an event above 240 KB fails alone on publish, of which Amplify says nothing', async () => {
  const channel = await connect(fresh())
  const listener = await subscribed(channel)
  assert.equal(await within(channel.publish(['x'.repeat(245_800), 'small']), 'publish'), undefined)
  const { answer } = lastPublish()
  assert.deepEqual(answer.failed.map((event) => [event.index, event.code]), [[0, 'EventTooLargeException']])
  assert.deepEqual(answer.successful.map((event) => event.index), [1])
  await listener.atLeast(1)
  await fence()
  assert.deepEqual(listener.payloads(), ['small'])
  await channel.close()
})

test('an event above 240 KB fails alone on post', async () => {
  const name = fresh()
  const channel = await connect(name)
  const listener = await subscribed(channel)
  const failed = await post(name, ['small', 'x'.repeat(245_800)])
  assert.equal(failed.length, 1)
  assert.deepEqual([failed[0].index, failed[0].code], [1, 'EventTooLargeException'])
  await listener.atLeast(1)
  await fence()
  assert.deepEqual(listener.payloads(), ['small'])
  await channel.close()
})

test('an event of nearly 240 KB arrives', async () => {
  const name = fresh()
  const channel = await connect(name)
  const listener = await subscribed(channel)
  const large = 'x'.repeat(245_700)
  assert.equal(await post(name, large), undefined)
  await listener.atLeast(1)
  assert.equal(listener.payloads()[0], large)
  await channel.close()
})

const MODES = [
  ['iam', { authMode: 'iam' }, /^AWS4-HMAC-SHA256 /],
  ['userPool', { authMode: 'userPool' }, /^eyJ/],
  ['oidc', { authMode: 'oidc' }, /^eyJ/],
  ['lambda', { authMode: 'lambda', authToken: 'let me in' }, /^let me in$/],
]
for (const [mode, options, authorization] of MODES) {
  test(`mode ${mode} connects, subscribes, publishes and posts`, async () => {
    const name = fresh(mode.toLowerCase())
    const channel = await connectAnew(name, options)
    const { login, received } = sockets.at(-1)
    // Amplify's signer writes the name in lower case, its tokens do not.
    assert.match(login.authorization ?? login.Authorization, authorization)
    assert.equal(login['x-api-key'], undefined)
    assert.equal(received.find((frame) => frame.type !== 'ka').type, 'connection_ack')
    const listener = await subscribed(channel, options)
    const tricky = { text: 'é😀 "quoted" \\ / <b>&</b> \u0007', list: [1.5, null] }
    await within(channel.publish([tricky, 'plain'], options), 'publish')
    assert.equal(await post(name, [tricky, 3], options), undefined)
    await listener.atLeast(4)
    assert.deepEqual(listener.payloads(), [tricky, 'plain', tricky, 3])
    await channel.close()
  })

  test(`mode ${mode} is not enough for another namespace`, async () => {
    const other = fresh(mode === 'iam' ? 'lambda' : 'iam')
    const channel = await connect(other, options)
    assert.match(textOf(await listen(channel, options).settled()), /Unauthorized/)
    assert.match(textOf(await rejection(channel.publish(1, options), 'publish')), /Unauthorized|not authorized/)
    useHttp()
    assert.match(textOf(await rejection(events.post(other, 1, options), 'post')), /Unauthorized/)
    await channel.close()
  })
}
