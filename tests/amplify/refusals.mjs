// Refused connects, in a process of their own: Amplify keeps one good connection for all channels of an endpoint.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { events } from 'aws-amplify/data'
import { connect, credentials, rejection, textOf, useWebSocket } from './amplify.mjs'

test('a wrong key is refused on connect', async () => {
  useWebSocket({ apiKey: 'da2-wrong' })
  const error = await rejection(events.connect('/default/a'), 'connect')
  assert.match(textOf(error), /UnauthorizedException/)
})

test('a wrong IAM secret is refused on connect', async () => {
  const right = credentials.secretAccessKey
  credentials.secretAccessKey = 'wrong'
  useWebSocket()
  const error = await rejection(events.connect('/iam/a', { authMode: 'iam' }), 'connect')
  credentials.secretAccessKey = right
  assert.match(textOf(error), /BadRequestException/)
})

test('a token that no authorizer knows is refused on connect', async () => {
  useWebSocket()
  const error = await rejection(events.connect('/lambda/a', { authMode: 'lambda', authToken: 'nobody' }), 'connect')
  assert.match(textOf(error), /UnauthorizedException/)
})

test('after refusals the right key still connects', async () => {
  const channel = await connect('/default/a')
  await channel.close()
})
