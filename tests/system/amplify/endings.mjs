// How connections end, in a process of their own: it takes a client that has one connection and nothing left over.
import assert from 'node:assert/strict'
import { events } from 'aws-amplify/data'
import {
  connect,
  overTls,
  rejection,
  sockets,
  subscribed,
  test,
  textOf,
  until,
  useHttp,
  useWebSocket,
  within,
} from './amplify.mjs'

const { EVENTS_BRIEF_HTTP, EVENTS_BRIEF_WS, EVENTS_BRIEF_KEY } = process.env
const brief = (endpoint) => ({ endpoint, apiKey: EVENTS_BRIEF_KEY })

async function postBriefly(channel, event) {
  useHttp(brief(EVENTS_BRIEF_HTTP))
  return within(events.post(channel, event), 'post')
}

test('closing the last channel ends the connection with 1000, and the channel is of no more use', async () => {
  const first = await connect('/default/endings-a')
  const second = await connect('/default/endings-b')
  await subscribed(first)
  await subscribed(second)
  await first.close()
  assert.match(textOf(await rejection(first.publish(1), 'publish')), /Channel is closed/)
  assert.throws(() => first.subscribe({}), /Channel is closed/)
  // Amplify looks a second after each close whether a channel is left.
  await new Promise((resolve) => setTimeout(resolve, 1500))
  assert.deepEqual(sockets.map((socket) => socket.closeCode), [null])
  await second.close()
  await until(() => sockets[0].closeCode !== null, 'end of the connection')
  assert.equal(sockets[0].closeCode, 1000)
})

test('a connection that the server ends comes back by itself with its subscription', async () => {
  useWebSocket(brief(overTls ? EVENTS_BRIEF_HTTP : EVENTS_BRIEF_WS))
  const name = '/default/endings-c'
  const channel = await within(events.connect(name), 'connect')
  const listener = await subscribed(channel)
  const socket = sockets.at(-1)
  await postBriefly(name, 'before')
  await listener.atLeast(1)

  await until(() => socket.closeCode !== null, 'end of the connection')
  assert.equal(socket.closeCode, 1000)
  assert.match(textOf(await rejection(channel.publish(1), 'publish')), /Subscription has not been initialized/)
  await postBriefly(name, 'while away')

  // Amplify waits five seconds before it opens another.
  const acks = () => listener.frames().filter((frame) => frame.type === 'subscribe_success').length
  await until(() => acks() === 2, 'subscription of the second connection')
  assert.notEqual(sockets.at(-1), socket)
  await postBriefly(name, 'after')
  await listener.atLeast(2)
  assert.deepEqual(listener.payloads(), ['before', 'after'])
  assert.deepEqual(listener.errors, [])
  await channel.close()
})
