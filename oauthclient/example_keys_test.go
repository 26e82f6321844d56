package oauthclient_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// A client authenticates with a key in place of a secret. The authorization
// server knows the public half.
func ExampleNewClientKey() {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // or a crypto.Signer of a KMS
	if err != nil {
		panic(err)
	}
	shared := oauthclient.Shared{
		Transport:  oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true}),
		Grant:      oauthclient.ClientCredentials{},
		ClientKeys: []oauthclient.ClientKey{oauthclient.NewClientKey("2026-11", private)},
	}
	document, err := shared.ClientKeySet()
	if err != nil {
		panic(err)
	}
	var public jose.JSONWebKeySet
	if err := json.Unmarshal(document, &public); err != nil {
		panic(err)
	}
	as := authtest.New(authtest.Options{
		AuthMethods: []string{authtest.AuthPrivateKeyJWT},
		Clients:     []authtest.Client{{ID: "service", AuthMethod: authtest.AuthPrivateKeyJWT, Keys: public}},
	})
	defer as.Close()
	server := mcptest.New(mcptest.Options{Auth: as})
	defer server.Close()

	shared.PreregisteredClients = []oauthclient.PreregisteredClient{{
		Issuer: as.Issuer(), ClientID: "service", TokenEndpointAuthMethod: "private_key_jwt",
	}}
	client, err := oauthclient.New(oauthclient.Config{ServerURL: server.URL(), Shared: shared})
	if err != nil {
		panic(err)
	}
	fmt.Println(shared.ClientKeys[0])
	fmt.Println(client.Connect(context.Background()))
	// Output:
	// ClientKey(2026-11)
	// <nil>
}

// Both servers support DPoP, so the token is bound to a key of the connection,
// and is handed to no other library.
func Example_proofOfPossession() {
	as := authtest.New(authtest.Options{DPoP: true, Clients: []authtest.Client{{ID: "service", Secret: "its secret"}}})
	defer as.Close()
	server := mcptest.New(mcptest.Options{Auth: as, DPoP: true})
	defer server.Close()

	client, err := oauthclient.New(oauthclient.Config{
		ServerURL: server.URL(),
		Shared: oauthclient.Shared{
			Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true}),
			Grant:     oauthclient.ClientCredentials{},
			PreregisteredClients: []oauthclient.PreregisteredClient{{
				Issuer: as.Issuer(), ClientID: "service", ClientSecret: oauthclient.NewSecret("its secret"),
			}},
		},
	})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	if err := client.Connect(ctx); err != nil {
		panic(err)
	}
	creds, err := client.Credentials(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println(creds.TokenType)
	_, err = client.Provider().Token(ctx)
	fmt.Println(err)
	// Output:
	// DPoP
	// oauthclient: the access token is bound to a key
}
